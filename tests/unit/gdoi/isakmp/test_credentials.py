from __future__ import annotations

from dataclasses import replace

from agent.gdoi.isakmp.credentials import StaticCredentials, methods_for
from agent.gdoi.isakmp.policy import Method
from tests.unit.gdoi.pair import GCKS, GM, KEY, certified, shared_key


def test_a_method_is_there_only_with_its_credential() -> None:
    rsa = certified("rsa", "gm.example")
    both = replace(rsa, pre_shared_keys=shared_key(GCKS).pre_shared_keys)
    assert methods_for(StaticCredentials(), GCKS.address) == ()
    assert methods_for(shared_key(GCKS), GCKS.address) == (Method.PRE_SHARED_KEY,)
    assert methods_for(shared_key(GCKS), GM.address) == ()
    assert methods_for(rsa, GM.address) == (Method.RSA,)
    assert methods_for(both, GCKS.address) == (Method.RSA, Method.PRE_SHARED_KEY)
    assert methods_for(replace(rsa, anchors=()), GCKS.address) == ()


def test_no_key_is_in_a_repr() -> None:
    shown = repr(shared_key(GCKS)) + repr(certified("rsa", "gm.example"))
    assert KEY.reveal().decode() not in shown
    assert "BEGIN" not in shown
    assert "\\x30" not in shown
