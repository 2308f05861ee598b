"""Every vector of the folder, in both directions: octets to values and values to octets.

A file is TOML with a `provenance` and `[[vector]]` tables; `kind` says what a vector holds.
"""

from __future__ import annotations

import dataclasses
import hashlib
import tomllib
import types
import typing
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Union

import pytest
from netaddr import IPAddress

from agent.crypto.ciphers import CbcCipher, decrypt_cbc, encrypt_cbc, pad_zero
from agent.crypto.ikev1 import cipher_key, derive_skeyids, phase2_iv, skeyid_of_pre_shared_key
from agent.crypto.prf import HashAlgorithm, prf
from agent.gdoi.contexts import PHASE_1, PULL, context_for
from agent.gdoi.isakmp.chain import Context, build_chain, build_frames, parse_chain
from agent.gdoi.isakmp.constants import ExchangeType, HeaderFlags, PayloadType
from agent.gdoi.isakmp.header import Header
from agent.gdoi.isakmp.payloads import Hash, Identification, Nonce, SecurityAssociation
from agent.gdoi.kd import KD, SEQ
from agent.gdoi.kek import KEY_TYPES
from agent.gdoi.lkh import DownloadArray, UpdateArray, keys_of_update, update_array_of
from agent.gdoi.pull import GroupRequested, PullInitiator, PullResponder
from agent.gdoi.push import build_push
from agent.gdoi.push_ack import AckMessage, ack_key, build_ack, verify_ack
from agent.gdoi.push_open import open_push
from agent.gdoi.push_signature import RekeyVerifier
from agent.gdoi.rekey_content import content_of
from agent.gdoi.sa import GAP, SAK, SAT, GroupSecurityAssociation
from agent.gdoi.tolerances import Tolerances
from agent.gsa.identity import GroupId, Identity, IdentityKind
from agent.gsa.rekey import KEK_CIPHERS, Acknowledgement
from agent.gsa.sa import GroupSA
from agent.secret import Secret
from tests.vectors import pull_offers, push_contents

Vector = dict[str, Any]

FOLDER: Final = Path(__file__).parent
PAYLOADS: Final[dict[str, Any]] = {
    kind.__name__: kind
    for kind in (SecurityAssociation, SAK, SAT, KD, GroupSecurityAssociation, Identification, GAP, SEQ)
}
VALUES: Final[dict[str, Any]] = {kind.__name__: kind for kind in (DownloadArray, UpdateArray)}
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


def _names(kind: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()


def rebuilt(kind: Any, value: Any) -> Any:
    """The value of a type that `plain` gave."""
    origin = typing.get_origin(kind)
    if origin in (Union, types.UnionType):
        arms = typing.get_args(kind)
        if isinstance(value, dict):
            return rebuilt(next(arm for arm in arms if set(value) <= _names(arm)), value)
        return rebuilt(next(arm for arm in arms if arm is {str: bytes, int: int}[type(value)]), value)
    if origin is tuple:
        return tuple(rebuilt(typing.get_args(kind)[0], item) for item in value)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        left_out = {field.name: None for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING}
        said = {name: rebuilt(hints[name], item) for name, item in value.items()}
        return typing.cast(Any, kind)(**(left_out | said))
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


def check_value(vector: Vector) -> None:
    kind, octets = VALUES[vector["type"]], bytes.fromhex(vector["hex"])
    assert plain(kind.parse(octets)) == vector["value"]
    assert rebuilt(kind, vector["value"]).build() == octets


def check_pull_exchange(vector: Vector) -> None:
    """Both roles: each message of the record is what this side sends next, and what the other side takes."""
    offer, sids = pull_offers.OFFERS[vector["offer"]], tuple(vector["sids"])
    skeyid_a, message_id = Secret(bytes.fromhex(vector["skeyid_a"])), vector["message_id"]
    messages = [bytes.fromhex(message) for message in vector["messages"]]
    carried = b""
    for number, message in enumerate(messages):
        covered = message[4 + 32 :]
        assert message[4 : 4 + 32] == prf(SHA2_256, skeyid_a, message_id.to_bytes(4) + carried + covered)
        carried += bytes.fromhex(vector[("ni", "nr")[number]]) if number < 2 else b""

    def keyed(data: bytes) -> bytes:
        return prf(SHA2_256, skeyid_a, data)

    group, gcks = GroupId.parse(vector["group"]), pull_offers.GCKS
    member = PullInitiator(group, gcks, message_id=message_id, prf=keyed, nonce=bytes.fromhex(vector["ni"]))
    server = PullResponder(message_id=message_id, prf=keyed, nonce=bytes.fromhex(vector["nr"]))
    assert member.request() == messages[0]
    assert server.receive(PayloadType.HASH, messages[0], 0.0) == GroupRequested(group)
    assert server.offer(offer, 0.0) == messages[1]
    member.receive(PayloadType.HASH, messages[1], 0.0)
    assert member.accept(len(sids)) == messages[2]
    server.receive(PayloadType.HASH, messages[2], 0.0)
    assert server.deliver(sids) == messages[3]
    group_sa = member.receive(PayloadType.HASH, messages[3], 0.0)
    assert isinstance(group_sa, GroupSA)
    assert (group_sa.data, group_sa.rekey, group_sa.iec61850) == (offer.data, offer.rekey, offer.iec61850)
    assert group_sa.sender_ids == sids


def check_push(vector: Vector) -> None:
    """Both roles: the record is what the key server builds, and what the member takes for just that."""
    under, content = push_contents.MESSAGES[vector["message"]]
    datagram = bytes.fromhex(vector["hex"])
    assert build_push(under, push_contents.SIGNER, vector["sequence"], content, now=0.0) == datagram
    opened = open_push(datagram, under, Tolerances())
    assert opened.sequence == vector["sequence"]
    assert RekeyVerifier(under.verify_key, under.signature).holds(opened.signed, opened.signature)
    found = content_of(opened.payloads(Tolerances()), under, {}, received=0.0, tolerances=Tolerances())
    assert found.deletions.data == content.deletes
    assert [replace(sa, send_from=0.0) for sa in found.data] == list(content.data)
    assert (found.activation_delay_s, found.deactivation_delay_s) == (
        content.activation_delay_s,
        content.deactivation_delay_s,
    )
    if content.rekey is None:
        assert found.rekey is None
    else:
        path = under.lkh[:1] + content.lkh_updates[0].keys if content.lkh_updates else ()
        assert found.rekey == replace(content.rekey, lkh=path)


def check_push_input(vector: Vector) -> None:
    under, content = push_contents.MESSAGES[vector["message"]]
    datagram = build_push(under, push_contents.SIGNER, vector["sequence"], content, now=0.0)
    signed = open_push(datagram, under, Tolerances()).signed
    assert signed.hex() == vector["hex"]
    assert hashlib.sha256(signed).hexdigest() == vector["sha256"]


def check_push_ack(vector: Vector) -> None:
    kind, spi, key = Acknowledgement.KEK_SHA256, bytes.fromhex(vector["spi"]), Secret(bytes.fromhex(vector["base_key"]))
    assert ack_key(kind, key, spi).reveal().hex() == vector["ack_key"]
    datagram = bytes.fromhex(vector["hex"])
    assert build_ack(spi, vector["sequence"], IPAddress(vector["address"]), kind, key) == datagram
    message = AckMessage.parse(datagram)
    assert (message.spi, message.sequence, str(message.identity)) == (spi, vector["sequence"], vector["address"])
    other = replace(message, digest=bytes.fromhex(vector["hash_with_l_of_256"]))
    assert verify_ack(message, kind, key)
    assert verify_ack(other, kind, key)


def check_lkh_update(vector: Vector) -> None:
    """The keys of the record, encrypted and decrypted."""
    under, content = push_contents.MESSAGES[vector["message"]]
    (update,) = content.lkh_updates
    cipher = KEK_CIPHERS[under.key_algorithm]
    array = update_array_of(update, cipher, KEY_TYPES[cipher.name])
    assert array.build().hex() == vector["hex"]
    parsed = UpdateArray.parse(bytes.fromhex(vector["hex"]))
    assert keys_of_update(parsed, under.lkh[0], cipher, KEY_TYPES[cipher.name]) == update.keys


CHECKS: Final[dict[str, Callable[[Vector], None]]] = {
    "payload": check_payload,
    "value": check_value,
    "pull-exchange": check_pull_exchange,
    "datagram": check_datagram,
    "skeyid": check_skeyid,
    "pull-request": check_pull_request,
    "push": check_push,
    "push-input": check_push_input,
    "push-ack": check_push_ack,
    "lkh-update": check_lkh_update,
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
