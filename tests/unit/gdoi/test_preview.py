from __future__ import annotations

import dataclasses

from agent.gdoi.offer import GroupOffer
from agent.gdoi.preview import preview_of
from agent.gdoi.translate import policy_of, sa_of
from agent.gsa.gpad import GpadRule
from agent.gsa.iec61850 import Iec61850SA, IecTransform
from agent.gsa.oid import OidSelector
from agent.gsa.rekey import LkhKey
from agent.secret import Secret
from tests.unit.gdoi.pair import GCKS_NAME, GROUP, an_sa, gpad
from tests.unit.gdoi.test_kek import REKEY


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


def test_a_preview_shows_the_rekey_sa_and_those_of_iec_61850_too() -> None:
    """So that the GPAD is asked about all that is offered."""
    goose = Iec61850SA(
        1, OidSelector("1.2.3"), IecTransform.parse("aes-gcm-128"), Secret(b"c" * 20), Secret(b""), expires=900.0
    )
    path = (LkhKey(1, 4, REKEY.iv, REKEY.key),)
    offer = GroupOffer((), dataclasses.replace(REKEY, lkh=path, expires=800.0), iec61850=(goose,))
    preview = preview_of(policy_of(sa_of(offer, 0.0), 0.0), GROUP, GCKS_NAME)
    assert preview.rekey is not None
    assert (preview.rekey.key_algorithm, preview.rekey.expires, preview.rekey.lkh) == ("aes-cbc-128", 800.0, ())
    assert (preview.iec61850[0].selector, preview.iec61850[0].expires) == (goose.selector, 900.0)
    assert not any(preview.rekey.key.reveal() + preview.iec61850[0].confidentiality_key.reveal())
    entry = gpad().lookup(GCKS_NAME)
    assert entry is not None
    assert [refusal.rule for refusal in entry.refusals(preview)] == [GpadRule.SELECTOR]
