from __future__ import annotations

from dataclasses import replace

import pytest

from agent.gdoi.isakmp.credentials import PeerKey, StaticCredentials, methods_for, pre_shared_key_for
from agent.gdoi.isakmp.policy import Method
from agent.secret import Secret
from tests.unit.gdoi.pair import GCKS, GCKS_NAME, GM, GM_NAME, KEY, certified, shared_key


def test_a_method_is_there_only_with_its_credential() -> None:
    rsa = certified("rsa", "gm.example")
    both = replace(rsa, pre_shared_keys=shared_key(GCKS).pre_shared_keys)
    key = pre_shared_key_for(both, GCKS.address)
    assert methods_for(StaticCredentials(), None) == ()
    assert methods_for(shared_key(GCKS), key) == (Method.PRE_SHARED_KEY,)
    assert methods_for(shared_key(GCKS), None) == ()
    assert methods_for(rsa, None) == (Method.RSA,)
    assert methods_for(both, key) == (Method.RSA, Method.PRE_SHARED_KEY)
    assert methods_for(replace(rsa, anchors=()), None) == ()


@pytest.mark.requirement("P1-2409-5.4-01")
def test_a_key_is_found_by_identity_first_then_by_address() -> None:
    by_address, by_identity = PeerKey(Secret(b"address")), PeerKey(Secret(b"identity"))
    held = StaticCredentials({GM.address: by_address}, identity_keys={GM_NAME: by_identity})
    assert pre_shared_key_for(held, GM.address) is by_address
    assert pre_shared_key_for(held, GM.address, GM_NAME) is by_identity
    assert pre_shared_key_for(held, GCKS.address, GM_NAME) is by_identity
    assert pre_shared_key_for(held, GM.address, GCKS_NAME) is by_address
    assert pre_shared_key_for(held, GCKS.address, GCKS_NAME) is None


def test_a_trust_store_is_made_once_for_what_was_configured() -> None:
    rsa = certified("rsa", "gm.example")
    assert rsa.trust() is rsa.trust()
    assert replace(rsa, anchors=()).trust().anchors == ()
    with pytest.raises(ValueError, match=r"ParseError|parsing"):
        replace(rsa, anchors=(b"none",)).trust()


def test_no_key_is_in_a_repr() -> None:
    shown = repr(shared_key(GCKS)) + repr(certified("rsa", "gm.example"))
    assert KEY.reveal().decode() not in shown
    assert "BEGIN" not in shown
    assert "\\x30" not in shown
