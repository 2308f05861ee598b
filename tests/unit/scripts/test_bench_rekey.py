"""`scripts/bench rekey`: its figures, and that what is measured is a rekey."""

from __future__ import annotations

import pytest

from agent.gcks.kek import verify_key_of
from agent.gdoi.push import PushContent, octets_of_push, split
from agent.gdoi.push_signature import RekeySigner
from scripts.lib.bench import rekey_inside
from scripts.lib.bench.rekey import TARGET_MS, figures_of
from scripts.lib.bench.rekey_inside import COUNTS, LARGEST, PARTS

SECONDS = dict(zip(PARTS, (0.0004, 0.001, 0.0016, 0.003, 0.002), strict=True))


def samples(factor: float = 1.0) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for count in COUNTS:
        for part, seconds in SECONDS.items():
            found[f"rekey_{count}_{part}_s"] = [seconds * factor] * 3
        found[f"rekey_{count}_s"] = [sum(SECONDS.values()) * factor] * 3
        found[f"rekey_{count}_messages"] = [2.0 if count == 1000 else 1.0]
    return found


def test_the_time_of_a_rekey_is_split_without_rest() -> None:
    figures = {figure.name: figure for figure in figures_of(samples())}
    for count in COUNTS:
        parts = sum(figures[f"rekey_{count}_{part}_ms"].value for part in PARTS)
        assert parts == pytest.approx(figures[f"rekey_{count}_p50_ms"].value) == pytest.approx(8.0)
        assert figures[f"rekey_{count}_own_p50_ms"].value == pytest.approx(6.0)
    assert "2 messages" in figures["rekey_1000_own_p50_ms"].meaning


@pytest.mark.parametrize(("factor", "met"), [(TARGET_MS / 6 * 0.99, True), (TARGET_MS / 6 * 1.01, False)])
def test_one_tek_has_a_target(factor: float, met: bool) -> None:
    figures = [figure for figure in figures_of(samples(factor)) if figure.target is not None]
    assert [(figure.name, figure.met) for figure in figures] == [("rekey_1_own_p50_ms", met)]


def test_a_thousand_teks_need_few_messages() -> None:
    pair = rekey_inside._signing_key()
    signer = RekeySigner(pair, rekey_inside.SIGNATURE)
    rekey = rekey_inside._rekey_sa(verify_key_of(pair.reveal()))
    content = PushContent(data=rekey_inside._teks(1000, 1, 0.0))
    parts = split(content, LARGEST, rekey, signer, now=0.0)
    assert len(parts) == 2
    assert all(octets_of_push(rekey, signer, part, now=0.0) <= LARGEST for part in parts)
