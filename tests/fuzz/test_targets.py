"""The targets reach what they are for, and see what they look for: each is shown a fault planted in what it tests."""

from __future__ import annotations

import itertools
from typing import Any
from unittest import mock

import pytest

from scripts.lib.fuzz.faults import fault_of
from scripts.lib.fuzz.reach import Reach
from scripts.lib.fuzz.targets import load, targets
from tests.fuzz.engines import TEK


def shown(name: str, place: str, planted: object) -> bool:
    """Whether a seed of the target shows what was planted there."""
    module = load(targets()[name])
    with mock.patch(place, planted):
        return any(fault_of(module.one_input, data) is not None for _, data in module.seeds())


def raising(*_: object, **__: object) -> Any:
    raise KeyError("planted")


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("header-and-chain", "agent.wire.reader.Reader.inner"),
        ("payloads", "agent.gdoi.sa.IdBlock.parse"),
        ("identities", "agent.gsa.oid.OidSelector.parse"),
        ("fragments", "agent.gdoi.isakmp.fragment.Fragment.parse"),
        ("certificates", "agent.crypto.x509._vouched"),
        ("before-phase1", "agent.gdoi.session.Session.require"),
        ("phase1", "agent.gdoi.isakmp.phase1_exchange.check_signature"),
        ("phase1", "agent.gdoi.isakmp.phase1_exchange.check_key"),
        ("keyserver", "agent.gdoi.keyserver.KeyServerEngine.deliver"),
        ("keyserver", "agent.gdoi.keyserver.deletes_phase_one"),
        ("member", "agent.gdoi.translate._sids_of"),
        ("member", "agent.gdoi.lkh.DownloadArray.parse"),
        ("member", "agent.gdoi.iec61850.iec_sa_of"),
        ("push", "agent.gdoi.rekey_content.deletions_of"),
        ("push", "agent.gdoi.lkh_member.keys_of_update"),
        ("push", "agent.gdoi.rekey_keys.verify_key_of"),
        ("push", "agent.gdoi.rekey_held.WatchedGroup.enter"),
        ("push-ack", "agent.gdoi.push_ack._identity_of"),
        ("xfrm", "xfrm.state.SecurityAssociation.decode"),
        ("config", "agent.member.setup._gpad_entry"),
        ("config", "agent.gcks.setup._credentials"),
        ("config", "agent.config.members_file._role"),
        ("control", "agent.gcks.views.audit_query"),
        ("control", "agent.service.control._taken"),
    ],
)
def test_what_lies_deep_is_reached(name: str, place: str) -> None:
    assert shown(name, place, raising)


def test_what_is_not_written_as_it_was_read_is_seen() -> None:
    assert shown("payloads", "agent.gdoi.sa.GAP.build", lambda _: b"")


def test_a_key_that_shows_is_seen() -> None:
    def telling(self: Any) -> str:
        return f"<Secret {self.reveal().hex()}>"

    assert shown("payloads", "agent.secret.Secret.__repr__", telling)
    assert shown("keyserver", "agent.gdoi.events.PullRequested.__repr__", lambda _: TEK.hex())


def test_another_identity_is_seen() -> None:
    """A certificate's holder that gets away with any name."""
    assert shown("phase1", "agent.gdoi.isakmp.phase1_auth.require_vouched", lambda identity, _: identity)


def test_what_the_gpad_refuses_is_seen() -> None:
    """A member that takes it all the same: the first answer is the engine's, the second the target's."""
    answers = itertools.cycle([(), ("refused",)])
    assert shown("member", "agent.gsa.gpad.GpadEntry.refusals", lambda *_: next(answers))


def test_a_forgery_that_is_taken_is_seen() -> None:
    assert shown("push", "agent.gdoi.push_signature.RekeyVerifier.holds", lambda *_: True)
    assert shown("push-ack", "agent.gdoi.push_ack.equal", lambda *_: True)


def test_a_flood_is_seen() -> None:
    module = load(targets()["before-phase1"])
    with mock.patch("tests.fuzz.targets.before_phase1.MOST_ANSWERS", 0):
        assert any(fault_of(module.one_input, data) is not None for _, data in module.seeds())


def test_reach_tells_new_steps_only() -> None:
    module = load(targets()["fragments"])
    reach = Reach(module.one_input)
    [(_, first), *_rest] = module.seeds()
    assert reach.of(first)
    assert not reach.of(first)
    assert "agent/gdoi/isakmp/fragment.py" in reach.lines()
