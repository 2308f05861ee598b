"""The page of interoperability is that of the suite, and its settings meet in pairs as it says."""

from __future__ import annotations

import itertools

import pytest
from click.testing import CliRunner

from scripts.lib.interop import page
from scripts.lib.interop.__main__ import main
from scripts.lib.interop.cases import CASES, FACTORS, Role, pairs_of, pairwise
from scripts.lib.interop.drive import connection_for
from scripts.lib.interop.page import PAGE, Versions, build, ids, versions_of


def test_the_page_has_the_cases_of_the_suite() -> None:
    result = CliRunner().invoke(main, ["--check"])
    assert result.exit_code == 0, result.output


def test_a_case_that_is_not_on_the_page_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "CASES", CASES[:-1])
    result = CliRunner().invoke(main, ["--check"])
    assert result.exit_code == 1
    assert "run scripts/interop" in result.output


def test_no_two_cases_have_one_name() -> None:
    assert len(set(ids())) == len(ids())


def test_a_page_says_what_was_run() -> None:
    versions = Versions("5.9.8", "4.0.17")
    assert versions_of(build(versions)) == versions
    with pytest.raises(ValueError, match="what was run"):
        versions_of("# Interoperability")
    assert versions_of(PAGE.read_text(encoding="utf-8")).charon.startswith("5.")


def test_any_two_settings_meet_in_a_case() -> None:
    met = set().union(*map(pairs_of, pairwise(FACTORS)))
    for one, other in itertools.combinations(FACTORS, 2):
        for this, that in itertools.product(FACTORS[one], FACTORS[other]):
            assert ((one, this), (other, that)) in met


@pytest.mark.parametrize("role", list(Role))
def test_each_role_has_refusals_and_features(role: Role) -> None:
    of_role = [case for case in CASES if case.charon is role]
    assert any(case.cause for case in of_role)
    assert any(case.extra and not case.cause for case in of_role)


def test_a_pre_shared_key_stays_out_of_a_repr() -> None:
    connection = connection_for(CASES[-1])
    assert connection.secret is not None
    assert connection.secret in connection.text
    assert connection.secret not in repr(connection)
