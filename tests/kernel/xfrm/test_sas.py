"""SAs in a real kernel with ESP: requests, windows, replay state, lifetimes, events."""

from __future__ import annotations

import dataclasses
import errno
import logging
from collections.abc import Iterator

import pytest

from xfrm import (
    Address,
    AeadAlgorithm,
    Algorithm,
    AuthAlgorithm,
    Change,
    Expire,
    Family,
    KernelRefused,
    Key,
    Lifetime,
    Mark,
    Mode,
    Origin,
    Protocol,
    ReplayWindow,
    SaChange,
    SaExtraFlag,
    SaFlag,
    SecurityAssociation,
    Selector,
    SequenceState,
    XfrmMonitor,
    XfrmSocket,
    requests,
)

pytestmark = pytest.mark.needs_esp

ANY4, ANY6 = Address.any(Family.AF_INET), Address.any(Family.AF_INET6)
G4, G6 = Address.of("239.1.1.1"), Address.of("ff3e::8000:1")
GCM = AeadAlgorithm("rfc4106(gcm(aes))", Key(bytes(range(20))), 128)
CBC = Algorithm("cbc(aes)", Key(bytes(range(16))))
SHA256 = AuthAlgorithm("hmac(sha256)", Key(bytes(range(32))), 128)
PLAIN = SecurityAssociation(ANY4, G4, 0x1234, reqid=0x1000, aead=GCM)

SAS = {
    "GCM, any source": PLAIN,
    "GCM-256, ICV 64, IPv6": SecurityAssociation(
        ANY6, G6, 0xFFFFFFFF, aead=AeadAlgorithm("rfc4106(gcm(aes))", Key(bytes(36)), 64)
    ),
    "CBC with SHA-256": SecurityAssociation(ANY4, G4, 0x1234, encryption=CBC, integrity=SHA256),
    "null with SHA-512": SecurityAssociation(
        ANY4,
        G4,
        0x1234,
        encryption=Algorithm("ecb(cipher_null)", Key(b"")),
        integrity=AuthAlgorithm("hmac(sha512)", Key(bytes(64)), 256),
    ),
    "AH": SecurityAssociation(ANY4, G4, 0x1234, Protocol.AH, integrity=SHA256),
    "tunnel, one source": SecurityAssociation(
        Address.of("fd09::1"), G6, 0x1234, mode=Mode.TUNNEL, aead=GCM, selector=Selector.of("fd09::1", "ff3e::8000:1")
    ),
    "lifetime": dataclasses.replace(
        PLAIN, lifetime=Lifetime(soft_bytes=2**40, hard_bytes=2**41, hard_packets=10**9, soft_add_s=60, hard_add_s=90)
    ),
    "mark": dataclasses.replace(PLAIN, mark=Mark(0x101, 0xFFFF)),
    "flags": dataclasses.replace(
        PLAIN, flags=SaFlag.XFRM_STATE_NOECN, extra_flags=SaExtraFlag.XFRM_SA_XFLAG_OSEQ_MAY_WRAP
    ),
    "output mark": dataclasses.replace(PLAIN, output_mark=Mark(5, 0xF)),
    "window 1": dataclasses.replace(PLAIN, replay=ReplayWindow(1)),
    "window 32": dataclasses.replace(PLAIN, replay=ReplayWindow(32)),
    "window 33": dataclasses.replace(PLAIN, replay=ReplayWindow(33)),
    "window 4096": dataclasses.replace(PLAIN, replay=ReplayWindow(4096)),
    "ESN": dataclasses.replace(PLAIN, replay=ReplayWindow(64, esn=True)),
}


@pytest.fixture
def kernel() -> Iterator[XfrmSocket]:
    with XfrmSocket(timeout_s=60) as opened:  # the first use of an algorithm loads and tests it
        yield opened


@pytest.mark.parametrize("sa", SAS.values(), ids=SAS)
def test_an_sa_is_read_back_as_it_was_added(kernel: XfrmSocket, sa: SecurityAssociation) -> None:
    kernel.add_sa(sa)
    got = kernel.get_sa(sa.id)
    assert got.configuration() == sa
    assert got.usage is not None
    assert (got.usage.octets, got.usage.packets) == (0, 0)
    assert [dumped.configuration() for dumped in kernel.dump_sas()] == [sa]
    kernel.delete_sa(sa.id)
    assert kernel.dump_sas() == []


@pytest.mark.parametrize(
    ("window", "start"),
    [
        (ReplayWindow(0), SequenceState(outbound=1000)),
        (ReplayWindow(32), SequenceState(1000, 2000)),
        (ReplayWindow(128), SequenceState(1000, 2000, (1, 2, 3, 4))),
        (ReplayWindow(32, esn=True), SequenceState(7 << 32 | 5, 3 << 32 | 9, (0xFF,))),
    ],
)
def test_an_sa_starts_where_it_is_told(kernel: XfrmSocket, window: ReplayWindow, start: SequenceState) -> None:
    sa = dataclasses.replace(PLAIN, replay=window, sequence=start)
    kernel.add_sa(sa)
    got = kernel.get_sa(sa.id)
    assert (got.replay, got.sequence) == (window, start)


def test_an_update_keeps_the_key_and_takes_the_lifetime(kernel: XfrmSocket) -> None:
    kernel.add_sa(PLAIN)
    other_key = AeadAlgorithm("rfc4106(gcm(aes))", Key(bytes(20)), 128)
    kernel.update_sa(dataclasses.replace(PLAIN, aead=other_key, lifetime=Lifetime(hard_add_s=900)))
    got = kernel.get_sa(PLAIN.id)
    assert (got.aead, got.lifetime) == (GCM, Lifetime(hard_add_s=900))


def test_refusals_have_the_kernels_name_and_words(kernel: XfrmSocket) -> None:
    kernel.add_sa(PLAIN)
    with pytest.raises(KernelRefused, match="EEXIST"):
        kernel.add_sa(dataclasses.replace(PLAIN, source=Address.of("10.9.0.3"), reqid=5))
    with pytest.raises(KernelRefused, match="ESRCH"):
        kernel.delete_sa(dataclasses.replace(PLAIN, spi=0x9999).id)
    with pytest.raises(KernelRefused, match="ESRCH"):
        kernel.update_sa(dataclasses.replace(PLAIN, spi=0x9999))
    nonsense = dataclasses.replace(PLAIN, spi=0x9999, aead=AeadAlgorithm("no(such)", Key(bytes(16)), 128))
    with pytest.raises(KernelRefused, match="Requested AEAD algorithm not found") as caught:
        kernel.add_sa(nonsense)
    assert caught.value.errno == errno.ENOSYS


def test_marks_are_part_of_the_name(kernel: XfrmSocket) -> None:
    marked = [dataclasses.replace(PLAIN, mark=Mark(value, 0xFFFF)) for value in (0x101, 0x102)]
    assert all(outcome.ok for outcome in kernel.request_many(requests.add_sa(sa) for sa in marked))
    with pytest.raises(KernelRefused, match="ESRCH"):
        kernel.delete_sa(PLAIN.id)
    kernel.delete_sa(marked[0].id)
    assert [sa.id for sa in kernel.dump_sas()] == [marked[1].id]


def test_windows_of_sas_report_each(kernel: XfrmSocket) -> None:
    many = [dataclasses.replace(PLAIN, spi=0x1000 + number) for number in range(500)]
    items = [requests.add_sa(sa) for sa in many]
    items[50] = requests.add_sa(many[4])
    outcomes = kernel.request_many(items)
    assert [outcome.refusal.index for outcome in outcomes if outcome.refusal] == [50]
    found = {sa.id: sa.configuration() for sa in kernel.dump_sas()}
    assert found == {sa.id: sa for sa in many if sa is not many[50]}
    kernel.flush_sas(Protocol.ESP)
    assert kernel.dump_sas() == []


def test_changes_of_sas_are_reported(kernel: XfrmSocket) -> None:
    with XfrmMonitor() as monitor:
        kernel.add_sa(PLAIN)
        kernel.update_sa(PLAIN)
        kernel.delete_sa(PLAIN.id)
        for sequence, change in enumerate((Change.ADDED, Change.UPDATED, Change.DELETED), start=1):
            event = monitor.next_event(timeout_s=30)
            assert isinstance(event, SaChange)
            assert (event.change, event.sa_id, event.origin) == (
                change,
                PLAIN.id,
                Origin(kernel.asyncore.port, sequence),
            )
            assert event.sa is not None
            assert event.sa.configuration() == PLAIN


def test_soft_and_hard_expiry_are_reported(kernel: XfrmSocket) -> None:
    with XfrmMonitor() as monitor:
        kernel.add_sa(dataclasses.replace(PLAIN, lifetime=Lifetime(soft_add_s=1, hard_add_s=3)))
        assert isinstance(monitor.next_event(timeout_s=30), SaChange)
        for hard in (False, True):
            event = monitor.next_event(timeout_s=30)
            assert isinstance(event, Expire)
            assert (event.hard, event.sa.id) == (hard, PLAIN.id)
    assert kernel.dump_sas() == []


def test_no_key_is_logged_or_shown(kernel: XfrmSocket, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret = b"abcdefghijklmnopqrst"
    sa = dataclasses.replace(PLAIN, aead=AeadAlgorithm("rfc4106(gcm(aes))", Key(secret), 128))
    with XfrmMonitor() as monitor:
        kernel.add_sa(sa)
        with pytest.raises(KernelRefused) as caught:
            kernel.add_sa(sa)
        shown = [caplog.text, repr(kernel.dump_sas()), repr(monitor.next_event(timeout_s=30)), repr(caught.value)]
    assert not [text for text in shown if secret.decode() in text or secret.hex() in text]
