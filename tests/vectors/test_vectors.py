"""Every vector of the folder, in both directions: octets to values and values to octets.

A file is TOML with a `provenance` and `[[vector]]` tables; `kind` says what a vector holds.
"""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Union

import pytest

from agent.crypto.ciphers import CbcCipher, decrypt_cbc, encrypt_cbc, pad_zero
from agent.crypto.ikev1 import cipher_key, derive_skeyids, phase2_iv, skeyid_of_pre_shared_key
from agent.crypto.prf import HashAlgorithm, prf
from agent.gdoi.contexts import PHASE_1, PULL, context_for
from agent.gdoi.isakmp.chain import Context, build_chain, build_frames, parse_chain
from agent.gdoi.isakmp.constants import ExchangeType, HeaderFlags, PayloadType
from agent.gdoi.isakmp.header import Header
from agent.gdoi.isakmp.payloads import Hash, Identification, Nonce, SecurityAssociation
from agent.gdoi.kd import KD
from agent.gdoi.pull import GroupRequested, PullInitiator, PullResponder
from agent.gdoi.sa import SAK, SAT
from agent.gsa.identity import GroupId, Identity, IdentityKind
from agent.secret import Secret

Vector = dict[str, Any]

FOLDER: Final = Path(__file__).parent
PAYLOADS: Final[dict[str, Any]] = {kind.__name__: kind for kind in (SecurityAssociation, SAK, SAT, KD)}
CONTEXTS: Final[dict[str, Context]] = {context.name: context for context in (PHASE_1, PULL)}
SHA2_256: Final = HashAlgorithm.SHA2_256


def vectors() -> list[tuple[str, Vector]]:
    found = []
    for path in sorted(FOLDER.glob("*.toml")):
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        assert table["provenance"], f"{path.name} does not say where its octets are from"
        found += [(f"{path.stem}: {vector['name']}", vector) for vector in table["vector"]]
    return found


def plain(value: Any) -> Any:
    """A decoded value as TOML has it: octets as hex, None left out."""
    if dataclasses.is_dataclass(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {name: plain(item) for name, item in fields.items() if item is not None}
    match value:
        case bool():
            return value
        case int():
            return int(value)
        case bytes():
            return value.hex()
        case Secret():
            return value.reveal().hex()
        case _:
            return [plain(item) for item in value]


def rebuilt(kind: Any, value: Any) -> Any:
    """The value of a type that `plain` gave."""
    origin = typing.get_origin(kind)
    if origin in (Union, types.UnionType):
        fits = {dict: dataclasses.is_dataclass, str: lambda arm: arm is bytes, int: lambda arm: arm is int}
        return rebuilt(next(arm for arm in typing.get_args(kind) if fits[type(value)](arm)), value)
    if origin is tuple:
        return tuple(rebuilt(typing.get_args(kind)[0], item) for item in value)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return typing.cast(Any, kind)(**{name: rebuilt(hints[name], item) for name, item in value.items()})
    if kind is Secret:
        return Secret(bytes.fromhex(value))
    return bytes.fromhex(value) if kind is bytes else kind(value)


def check_payload(vector: Vector) -> None:
    kind, octets = PAYLOADS[vector["type"]], bytes.fromhex(vector["hex"])
    value = kind.parse(octets[4:])
    assert plain(value) == vector["value"]
    assert rebuilt(kind, vector["value"]) == value
    body = rebuilt(kind, vector["value"]).build()
    assert build_frames([(kind.TYPE, body)], vector["next_payload"]) == octets


def check_datagram(vector: Vector) -> None:
    datagram, context = bytes.fromhex(vector["hex"]), CONTEXTS[vector["context"]]
    header = Header.parse(datagram)
    assert plain(header) == vector["header"]
    assert context_for(header.exchange) is context
    chain = parse_chain(header.next_payload, datagram[28:], context)
    assert [plain(parsed.payload) for parsed in chain] == vector["value"]
    pairs = zip(vector["types"], vector["value"], strict=True)
    first, octets = build_chain([rebuilt(PAYLOADS[name], value) for name, value in pairs])
    assert first == header.next_payload
    assert rebuilt(Header, vector["header"]).build() + octets == datagram


def check_skeyid(vector: Vector) -> None:
    ni, nr, gxy = (bytes.fromhex(vector[name]) for name in ("ni", "nr", "gxy"))
    skeyid = skeyid_of_pre_shared_key(SHA2_256, Secret(vector["psk"].encode()), ni, nr)
    derived = derive_skeyids(SHA2_256, skeyid, Secret(gxy), bytes.fromhex(vector["cookies"]))
    names = ("skeyid", "skeyid_d", "skeyid_a", "skeyid_e")
    assert {name: getattr(derived, name).reveal().hex() for name in names} == {name: vector[name] for name in names}


def check_pull_request(vector: Vector) -> None:
    datagram, group = bytes.fromhex(vector["hex"]), GroupId(bytes.fromhex(vector["group"]))
    skeyid_a, skeyid_e = Secret(bytes.fromhex(vector["skeyid_a"])), Secret(bytes.fromhex(vector["skeyid_e"]))
    key, message_id = cipher_key(SHA2_256, skeyid_e, 16), vector["message_id"]
    iv = phase2_iv(SHA2_256, bytes.fromhex(vector["last_phase1_block"]), message_id, 16)
    assert iv.hex() == vector["iv"]

    def keyed(data: bytes) -> bytes:
        return prf(SHA2_256, skeyid_a, data)

    header = Header.parse(datagram)
    assert (header.exchange, header.flags, header.message_id) == (
        ExchangeType.GROUPKEY_PULL,
        HeaderFlags.ENCRYPTION,
        message_id,
    )
    plaintext = decrypt_cbc(CbcCipher.AES_CBC, key, iv, datagram[28:])
    chain = parse_chain(header.next_payload, plaintext, context_for(header.exchange), block_octets=16)
    assert chain.types == (PayloadType.HASH, PayloadType.NONCE, PayloadType.ID)
    assert chain.one(Hash).data.hex() == vector["hash"]
    assert chain.one(Nonce).data.hex() == vector["nonce"]
    assert chain.one(Identification) == Identification(11, 0, 0, group.octets)
    responder = PullResponder(message_id=message_id, prf=keyed, nonce=bytes(16))
    assert responder.receive(header.next_payload, plaintext, 0.0) == GroupRequested(group)

    gcks = Identity.parse(IdentityKind.IPV4, "192.0.2.1")
    nonce = bytes.fromhex(vector["nonce"])
    request = PullInitiator(group, gcks, message_id=message_id, prf=keyed, nonce=nonce).request()
    ciphertext = encrypt_cbc(CbcCipher.AES_CBC, key, iv, pad_zero(request, 16))
    assert header.build() + ciphertext == datagram


CHECKS: Final[dict[str, Callable[[Vector], None]]] = {
    "payload": check_payload,
    "datagram": check_datagram,
    "skeyid": check_skeyid,
    "pull-request": check_pull_request,
}


@pytest.mark.requirement(
    "GDOI-5-01",
    "GDOI-2.1-01",
    "GDOI-3.2-02",
    "GDOI-3.2.1-01",
    "GDOI-5.1-01",
    "GDOI-5.6.2.1-01",
    "P1-2409-5-07",
    "P1-2409-5-11",
    "P1-2409-B-01",
    "P1-2409-B-03",
)
@pytest.mark.parametrize("vector", [pytest.param(vector, id=name) for name, vector in vectors()])
def test_vector_holds_in_both_directions(vector: Vector) -> None:
    CHECKS[vector["kind"]](vector)
