"""KEKs: made in time, committed before they are given, one signing pair along a line; and what a Rekey SA says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from netaddr import IPAddress

from agent.gcks import kek_store
from agent.gcks.database import Database, StoreError
from agent.gcks.kek import KekPolicy, fresh_signing_key, signing_key_of_pem, verify_key_of
from agent.gcks.kek_keeper import KekKeeper
from agent.gcks.schedule import Renewal
from agent.gcks.store import Store
from agent.gsa.identity import GroupId
from agent.gsa.rekey import REKEY_SIGNATURES, Acknowledgement
from agent.gsa.sa import RekeySA
from tests.unit.gcks.support import FakeClock, FakeEntropy, video_group

VIDEO = GroupId.of_number(1234)
ECDSA = REKEY_SIGNATURES["ecdsa-256"]
POLICY = KekPolicy(
    cipher="aes-cbc-256",
    signature=ECDSA,
    renewal=Renewal.of(86_400),
    source=IPAddress("192.0.2.1"),
    destination=IPAddress("239.9.9.9"),
    acknowledgement=Acknowledgement.KEK_SHA256,
)


class Host:
    """A store that outlives its keepers."""

    def __init__(self, folder: Path) -> None:
        self.path, self.clock, self.entropy = folder / "gckd.db", FakeClock(), FakeEntropy()

    def run(self, body: Callable[[KekKeeper, Store], Awaitable[None]], policy: KekPolicy | None = POLICY) -> None:
        async def inside() -> None:
            store = await Store.open(self.path)
            try:
                keeper = KekKeeper(store, self.clock, self.entropy)
                await keeper.start({VIDEO: replace(video_group(), kek=policy)})
                await body(keeper, store)
            finally:
                await store.close()

        asyncio.run(inside())


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def given(keeper: KekKeeper) -> RekeySA:
    rekey = keeper.offer(VIDEO)
    assert rekey is not None
    return rekey


@pytest.mark.requirement("GDOI-2.2-02")
def test_a_rekey_sa_is_what_the_policy_says_and_outlives_a_restart(host: Host) -> None:
    seen: list[RekeySA] = []

    async def body(keeper: KekKeeper, _store: Store) -> None:
        rekey = given(keeper)
        assert (rekey.key_algorithm, str(rekey.signature)) == ("aes-cbc-256", "ecdsa-256")
        assert (len(rekey.spi), len(rekey.key), len(rekey.iv)) == (16, 32, 16)
        assert (rekey.destination, rekey.destination_port) == (IPAddress("239.9.9.9"), 848)
        assert rekey.acknowledgement is Acknowledgement.KEK_SHA256
        assert rekey.expires == pytest.approx(87_400.0)
        seen.append(rekey)

    host.run(body)
    host.run(body)
    assert replace(seen[0], expires=None) == replace(seen[1], expires=None)


def test_the_next_kek_has_the_same_signing_pair_and_the_old_one_is_deleted_at_its_end(host: Host) -> None:
    async def body(keeper: KekKeeper, store: Store) -> None:
        first = given(keeper)
        host.clock.advance(keeper.due() - host.clock.now)
        await keeper.tick()
        second = given(keeper)
        assert second.spi != first.spi
        assert second.key != first.key
        assert second.verify_key == first.verify_key
        assert len(await store.run(kek_store.keks)) == 2
        host.clock.advance(86_400.0 - 2 * POLICY.renewal.lead_s)
        await keeper.tick()
        assert first.spi not in {kek.spi for kek in await store.run(kek_store.keks)}

    host.run(body)


def test_a_group_without_a_kek_has_none(host: Host) -> None:
    async def body(keeper: KekKeeper, _store: Store) -> None:
        assert keeper.offer(VIDEO) is None
        assert keeper.offer(GroupId.of_number(9)) is None
        assert keeper.due() == float("inf")

    host.run(body, None)


def test_another_cipher_begins_a_new_line(host: Host) -> None:
    spis: list[bytes] = []

    async def body(keeper: KekKeeper, _store: Store) -> None:
        spis.append(given(keeper).spi)

    host.run(body)
    host.run(body, replace(POLICY, cipher="aes-cbc-128"))
    host.run(body)
    assert spis[0] == spis[2] != spis[1]


def test_what_could_not_be_committed_is_not_given_out(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(keeper: KekKeeper, store: Store) -> None:
        async def full(*_: object, **__: object) -> None:
            raise StoreError("disk full")

        first = given(keeper)
        host.clock.advance(keeper.due() - host.clock.now)
        with monkeypatch.context() as patch:
            patch.setattr(store, "run", full)
            with pytest.raises(StoreError):
                await keeper.tick()
        assert given(keeper).spi == first.spi

    host.run(body)


def test_a_wall_clock_that_was_set_changes_no_lifetime(host: Host) -> None:
    async def first(keeper: KekKeeper, _store: Store) -> None:
        host.clock.set_wall(-50_000.0)
        await keeper.tick()

    async def second(keeper: KekKeeper, _store: Store) -> None:
        assert given(keeper).expires == pytest.approx(host.clock.now + 86_400.0)

    host.run(first)
    host.run(second)


def test_a_deleted_kek_is_nowhere_in_the_folder(host: Host) -> None:
    async def body(keeper: KekKeeper, store: Store) -> None:
        rekey = given(keeper)
        key = rekey.key.reveal()
        await store.run(kek_store.end_keks, [rekey.spi])
        assert not any(key in file.read_bytes() for file in host.path.parent.iterdir())

    host.run(body)


def pem(pair: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return pair.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@pytest.mark.parametrize("name", ["ecdsa-256", "ecdsa-384", "ecdsa-521"])
def test_a_pair_that_is_made_fits_its_signature(name: str) -> None:
    pair = serialization.load_der_private_key(fresh_signing_key(REKEY_SIGNATURES[name]).reveal(), None)
    assert isinstance(pair, ec.EllipticCurvePrivateKey)
    assert signing_key_of_pem(pem(pair), REKEY_SIGNATURES[name])


def test_a_pair_of_a_file_is_used_and_begins_a_line_of_its_own(host: Host) -> None:
    pair = ec.generate_private_key(ec.SECP256R1())
    policy = replace(POLICY, signing_key=signing_key_of_pem(pem(pair), ECDSA))
    assert policy.line != POLICY.line

    async def body(keeper: KekKeeper, _store: Store) -> None:
        assert policy.signing_key is not None
        assert given(keeper).verify_key == verify_key_of(policy.signing_key.reveal())

    host.run(body, policy)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"no key", "is no unencrypted PEM private key"),
        (pem(ec.generate_private_key(ec.SECP384R1())), 'does not fit signature "ecdsa-256": name a key on secp256r1'),
        (pem(rsa.generate_private_key(65537, 2048)), 'does not fit signature "ecdsa-256"'),
    ],
    ids=["text", "curve", "rsa"],
)
def test_a_pair_that_does_not_fit_is_refused(content: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        signing_key_of_pem(content, ECDSA)


def test_a_short_rsa_pair_is_refused() -> None:
    short = pem(rsa.generate_private_key(65537, 1024))  # noqa: S505  # it is what is to be refused
    with pytest.raises(ValueError, match="an RSA key of 2048 to 8192 bits"):
        signing_key_of_pem(short, REKEY_SIGNATURES["rsa+sha2-256"])


def test_nothing_shows_a_key(tmp_path: Path) -> None:
    policy = replace(POLICY, signing_key=fresh_signing_key(ECDSA))
    assert "Secret" not in repr(policy)
    database = Database(tmp_path / "gckd.db")
    assert kek_store.keks(database) == []
    database.close()
