"""From the file to what gckd works with: the example, credentials, schedules that cannot be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from netaddr import IPAddress

import agent.config
from agent.config.loader import ConfigErrors
from agent.gcks.setup import CurrentCredentials, read
from agent.gdoi.isakmp.policy import DEFAULT_SUITES
from agent.gsa.algorithms import Transform
from agent.gsa.identity import GroupId
from agent.gsa.role import Role
from tests.unit.gcks.support import name

EXAMPLE = Path(agent.config.__file__).parent / "examples" / "gckd.toml"


def certificate(folder: Path, stem: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, stem)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), 1, now, now + timedelta(days=1))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / f"{stem}.pem").write_bytes(made)
    secret(folder / f"{stem}.key", private)


def secret(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The example file with the files it names beside it."""
    certificate(tmp_path, "ks1")
    certificate(tmp_path, "ca")
    for stem in ("sender", "receiver1"):
        secret(tmp_path / f"{stem}.psk", stem.encode())
    path = tmp_path / "gckd.toml"
    path.write_text(EXAMPLE.read_text())
    return path


def test_the_example_file_is_right(example: Path) -> None:
    held = read(example)
    assert held.settings.identity == name("ks1.example")
    assert held.settings.suites == DEFAULT_SUITES
    video, telemetry = held.groups.values()
    assert video.group == GroupId.of_number(1234)
    assert video.members[name("sender.example")] is Role.SENDER
    assert video.single_sender(video.teks[0])
    assert video.teks[0].renewal.lead_s == 180
    assert telemetry.teks[0].transform == Transform.parse("aes-cbc-128+hmac-sha2-256")
    assert held.names[name("receiver2.example")] == "receiver2"


def test_a_key_may_speak_for_its_own_member_alone(example: Path) -> None:
    credentials = read(example).credentials
    key = credentials.pre_shared_key(IPAddress("192.0.2.10"))
    assert key is not None
    assert key.key.reveal() == b"sender"
    assert key.identities == frozenset({name("sender.example")})
    assert credentials.pre_shared_key(IPAddress("192.0.2.99")) is None
    assert credentials.certificate() is not None
    assert len(credentials.trust_anchors()) == 1


def test_current_credentials_follow_the_latest_setup(example: Path) -> None:
    held = read(example)
    current = CurrentCredentials(held.credentials)
    assert current.pre_shared_key(IPAddress("192.0.2.10")) is not None
    secret(example.parent / "sender.psk", b"another")
    current.held = read(example).credentials
    key = current.pre_shared_key(IPAddress("192.0.2.10"))
    assert key is not None
    assert key.key.reveal() == b"another"
    assert current.certificate() is not None
    assert len(current.trust_anchors()) == 1


def test_suites_are_taken_as_named(example: Path) -> None:
    example.write_text(example.read_text().replace('# phase1 = ["aes-cbc-128/sha2-256/ecp-256", "', 'phase1 = ["'))
    assert [str(suite) for suite in read(example).settings.suites] == ["aes-cbc-256/sha2-384/ecp-384"]


def test_a_transform_that_members_cannot_carry_is_no_policy(example: Path) -> None:
    example.write_text(example.read_text().replace('"aes-gcm-16-128"', '"hmac-sha2-256"'))
    with pytest.raises(ConfigErrors) as caught:
        read(example)
    assert [fault.key for fault in caught.value.faults] == ["[groups[0].teks[0]].transform"]


def test_what_only_shows_together_is_told_all_at_once(example: Path) -> None:
    example.write_text(
        example.read_text()
        .replace("# renewal_lead_s = 180", "renewal_lead_s = 1000")
        .replace('private_key = "ks1.key"', 'private_key = "ca.key"')
        .replace('trust_anchors = "ca.pem"', 'trust_anchors = "sender.psk"')
    )
    with pytest.raises(ConfigErrors) as caught:
        read(example)
    found = {fault.key: fault.message for fault in caught.value.faults}
    assert found.keys() == {"[authentication].trust_anchors", "[authentication].private_key", "[groups[0].teks[0]]"}
    assert "1 to 900 s" in found["[groups[0].teks[0]]"]
    assert "is not the key of the first certificate" in found["[authentication].private_key"]
