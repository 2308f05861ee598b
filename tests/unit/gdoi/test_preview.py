from __future__ import annotations

from agent.gdoi.offer import GroupOffer
from agent.gdoi.preview import preview_of
from agent.gdoi.translate import policy_of, sa_of
from tests.unit.gdoi.pair import GCKS_NAME, GROUP, an_sa, gpad


def test_a_preview_has_the_policy_and_no_key() -> None:
    sa = an_sa(expires=1000.0)
    policy = policy_of(sa_of(GroupOffer((sa,), activation_delay_s=5), now=100.0), now=200.0)
    preview = preview_of(policy, GROUP, GCKS_NAME)
    (shown,) = preview.data
    assert (shown.spi, shown.flow, shown.mode, shown.transform) == (sa.spi, sa.flow, sa.mode, sa.transform)
    assert shown.expires == 1100.0
    assert not any(shown.cipher_key.reveal())
    assert (preview.received, preview.activation_delay_s) == (200.0, 5)
    entry = gpad().lookup(GCKS_NAME)
    assert entry is not None
    assert entry.refusals(preview) == ()
