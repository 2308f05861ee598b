"""From the file to what gckd works with: the example, credentials, schedules that cannot be."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from netaddr import IPAddress

import agent.config
from agent.config.loader import ConfigErrors
from agent.gcks.delivery import HierarchyPolicy, RekeyDelivery
from agent.gcks.policy import IecPolicy, TekPolicy
from agent.gcks.setup import CurrentCredentials, read
from agent.gdoi.isakmp.credentials import StaticCredentials
from agent.gdoi.isakmp.phase1_state import PhaseOneSA, SendCertificates
from agent.gdoi.isakmp.policy import DEFAULT_SUITES, Method
from agent.gsa.algorithms import Transform
from agent.gsa.identity import GroupId, Identity
from agent.gsa.role import Role
from agent.gsa.sa import SecurityProtocol
from tests.unit.gcks.support import name
from tests.unit.gdoi.isakmp.test_channel import channel
from tests.unit.gdoi.pair import UTC_NOW, authority, private_key

EXAMPLE = Path(agent.config.__file__).parent / "examples" / "gckd.toml"


def certificate(folder: Path, stem: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, stem)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), 1, now, now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=stem == "ca", path_length=None), critical=True)
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
    assert len(credentials.trust().anchors) == 1


def test_current_credentials_follow_the_latest_setup(example: Path) -> None:
    held = read(example)
    current = CurrentCredentials(held.credentials)
    assert current.pre_shared_key(IPAddress("192.0.2.10")) is not None
    secret(example.parent / "sender.psk", b"another")
    current.adopt(read(example).credentials, datetime.now(UTC))
    key = current.pre_shared_key(IPAddress("192.0.2.10"))
    assert key is not None
    assert key.key.reveal() == b"another"
    assert current.certificate() is not None
    assert len(current.trust().anchors) == 1


def test_an_sa_stands_while_its_member_would_prove_itself_as_it_did(example: Path) -> None:
    held = read(example).credentials
    sender = a_phase_one_sa(name("sender.example"))
    assert not CurrentCredentials(held).adopt(read(example).credentials, UTC_NOW)(sender)
    secret(example.parent / "sender.psk", b"another")
    outdated = CurrentCredentials(held).adopt(read(example).credentials, UTC_NOW)
    assert outdated(sender)
    assert not outdated(a_phase_one_sa(name("receiver1.example")))
    assert outdated(a_phase_one_sa(name("gone.example")))


def test_an_sa_by_certificate_stands_while_the_certificate_is_trusted() -> None:
    leaf = authority().issue(private_key("ecdsa-256", "gm"), "gm")
    sa = a_phase_one_sa(name("gm.example"), leaf)
    before = StaticCredentials(anchors=(authority().der,))
    more = StaticCredentials(anchors=(authority().der, authority("another").der))
    other = StaticCredentials(anchors=(authority("another").der,))
    day = timedelta(days=1)
    crl = x509.CertificateRevocationListBuilder(authority().certificate.subject, UTC_NOW - day, UTC_NOW + day)
    empty = crl.sign(authority().key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    number = x509.load_der_x509_certificate(leaf).serial_number
    revoked = x509.RevokedCertificateBuilder(number, UTC_NOW - day).build()
    naming = crl.add_revoked_certificate(revoked).sign(authority().key, hashes.SHA256())
    listing = naming.public_bytes(serialization.Encoding.DER)
    for after, over in (
        (before, False),
        (more, False),
        (other, True),
        (replace(before, crls=(empty,)), False),
        (replace(before, crls=(listing,)), True),
        (StaticCredentials(), True),
    ):
        assert CurrentCredentials(before).adopt(after, UTC_NOW)(sa) is over
    assert not CurrentCredentials(other).adopt(replace(other), UTC_NOW)(sa), "nothing changed"


def a_phase_one_sa(identity: Identity, certificate: bytes | None = None) -> PhaseOneSA:
    method = Method.PRE_SHARED_KEY if certificate is None else Method.ECDSA_256
    return PhaseOneSA(identity, method, DEFAULT_SUITES[0], 100, channel(), certificate=certificate)


def test_suites_are_taken_as_named(example: Path) -> None:
    example.write_text(example.read_text().replace('# phase1 = ["aes-cbc-128/sha2-256/ecp-256", "', 'phase1 = ["'))
    assert [str(suite) for suite in read(example).settings.suites] == ["aes-cbc-256/sha2-384/ecp-384"]


def test_a_transform_without_a_cipher_is_a_policy_of_ah(example: Path) -> None:
    example.write_text(example.read_text().replace('"aes-gcm-16-128"', '"hmac-sha2-256"'))
    (line,) = read(example).groups[GroupId.of_number(1234)].teks
    assert isinstance(line, TekPolicy)
    assert line.protocol is SecurityProtocol.AH


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


def test_a_group_with_all_there_is(example: Path) -> None:
    text = example.read_text().replace('name = "video"\n', 'name = "video"\nsender_id_bits = 12\n')
    text += """
[[groups]]
id = "oid:1.2.840.10070.61850.8.1.2/0x0102"
name = "goose"
[[groups.iec61850]]
oid = "1.2.840.10070.61850.8.1.2/0x0102"
transform = "aes-gcm-128"
key_delivery_assurance = 90
[[groups.certified]]
role = "both"
subject = { O = "Plant", OU = "relays" }
issuer = "CN=Plant CA"
dns = "*.plant.example"
[groups.kek]
signature = "ecdsa-384"
source = "192.0.2.1"
destination = "239.9.9.9"
acknowledgement = "kek-sha2-256"
"""
    example.write_text(text)
    setup = read(example)
    video, goose = setup.groups[GroupId.of_number(1234)], list(setup.groups.values())[-1]
    assert video.sender_id_bits == 12
    assert video.teks[0].line.endswith("|sid12")
    (line,) = goose.teks
    assert isinstance(line, IecPolicy)
    assert (str(line.transform), line.key_delivery_assurance) == ("aes-gcm-128", 90)
    (rule,) = goose.rules
    assert rule.role is Role.BOTH
    assert goose.kek is not None
    assert (goose.kek.cipher, str(goose.kek.signature), goose.kek.port) == ("aes-cbc-256", "ecdsa-384", 848)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ('[[groups.certified]]\nrole = "both"\n', "a rule asks for subject, issuer, dns, email or network"),
        ('[[groups.certified]]\nrole = "both"\nsubject = { X = "y" }\n', "subject: one of CN, O, OU"),
        ('[[groups.certified]]\nrole = "both"\ndns = "a*.example"\n', "stands for a whole first part alone"),
        ('[[groups.certified]]\nrole = "both"\nnetwork = "here"\n', "network: a prefix, got 'here'"),
        ('[groups.kek]\nsource = "192.0.2.1"\ndestination = "192.0.2.2"\n', "a multicast address"),
        ('[groups.kek]\nsource = "192.0.2.1"\ndestination = "ff3e::1"\n', "differ in family"),
        (
            '[groups.kek]\nsource = "192.0.2.1"\ndestination = "239.9.9.9"\nsignature_key = "sender.psk"\n',
            "sender.psk is no unencrypted PEM private key",
        ),
        ('[groups.kek]\nsource = "192.0.2.1"\n', 'a multicast address, or transport = "unicast"'),
        (
            '[groups.kek]\nsource = "192.0.2.1"\ndestination = "239.9.9.9"\ntransport = "unicast"\nttl = 3\n',
            'destination, ttl: for transport = "multicast" alone',
        ),
        (
            '[groups.kek]\nsource = "192.0.2.1"\ndestination = "239.9.9.9"\nacknowledgement = "lkh-sha2-256"\n',
            "it takes a table [groups.kek.lkh]",
        ),
        (
            '[groups.kek]\nsource = "192.0.2.1"\ndestination = "239.9.9.9"\ncopies = 10\ncopy_pause_s = 100.0\n',
            "the last copy of a rekey leaves after 900 s, but keys are renewed with a lead of 180 s",
        ),
        ('[groups.kek]\nsource = "192.0.2.1"\ndestination = "239.9.9.9"\nlkh = { degree = 9 }\n', "at most 8"),
    ],
)
def test_what_a_group_cannot_say(example: Path, table: str, says: str) -> None:
    example.write_text(example.read_text() + "\n" + table)
    with pytest.raises(ConfigErrors) as caught:
        read(example)
    assert says in "\n".join(caught.value.lines)


def test_what_phase_1_is_like_reaches_the_engine(example: Path) -> None:
    keys = """[tolerances]
id_length_octets = 2
[authentication]
aggressive = true
phase1_idle_s = 30
phase1_lifetime_s = 7200
phase1_lifetime_kb = 1000
send_certificates = "never"
fragmentation = false
"""
    text = (
        example.read_text()
        .replace("[authentication]\n", keys, 1)
        .replace("[gckd]\n", "[gckd]\nnat_traversal = false\n")
    )
    example.write_text(text)
    setup = read(example)
    settings = setup.settings
    assert (settings.aggressive, settings.idle_s, settings.maximum_lifetime_s) == (True, 30, 7200)
    assert (settings.maximum_lifetime_kb, settings.certificates) == (1000, SendCertificates.NEVER)
    assert (settings.natt_port, settings.fragmentation, settings.tolerances.id_length_octets) == (None, False, 2)
    assert any("identities go in clear" in warning for warning in setup.warnings)


KEK = """
[groups.kek]
source = "192.0.2.1"
"""


@pytest.mark.requirement("ACK-6-06")
def test_how_rekeys_go_out_is_configured(example: Path) -> None:
    text = """transport = "unicast"
acknowledgement = "lkh-sha2-512"
copies = 2
copy_pause_s = 0.5
copies_sequence = "same"
ack_wait_s = 20
largest_octets = 9000
lkh = { degree = 4, backward_secrecy = true, batch_s = 1.5 }
"""
    example.write_text(example.read_text() + KEK + text)
    setup = read(example)
    kek = list(setup.groups.values())[-1].kek
    assert kek is not None
    assert kek.destination is None
    assert kek.delivery == RekeyDelivery(
        copies=2, pause_s=0.5, fresh_sequence=False, ack_wait_s=20, largest_octets=9000
    )
    assert kek.hierarchy == HierarchyPolicy(4, backward_secrecy=True, batch_s=1.5)
    assert not [warning for warning in setup.warnings if "kek" in warning]


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ("ack_wait_s = 3", "ack_wait_s: members may take 5 s to answer, so 3 s is short: 10 s or more (RFC 8263 6)"),
        ("copies = 1", "copies: a rekey that is lost once is lost"),
        ("copies = 2\ncopy_pause_s = 50.0", "copy_pause_s: members of teks[0] may register again 45 s after"),
        ('cipher = "3des-cbc"', "cipher: 3des-cbc is weak"),
        ('signature = "rsa+sha1"', "signature: rsa+sha1 is weak"),
    ],
)
@pytest.mark.requirement("ACK-6-05")
def test_what_weakens_rekeys_is_warned_of(example: Path, keys: str, says: str) -> None:
    example.write_text(example.read_text() + KEK + 'destination = "239.9.9.9"\n' + keys + "\n")
    assert any(says in warning for warning in read(example).warnings)


@pytest.mark.requirement("GDOI-4.1-01")
def test_what_members_know_the_key_server_by_signs_no_rekeys(example: Path) -> None:
    named = KEK + 'destination = "239.9.9.9"\nsignature = "ecdsa-256"\nsignature_key = "{}.key"\n'
    text = example.read_text()
    certificate(example.parent, "rekey")
    example.write_text(text + named.format("rekey"))
    read(example)
    example.write_text(text + named.format("ks1"))
    with pytest.raises(ConfigErrors) as caught:
        read(example)
    assert "kek].signature_key: is the key of [authentication].private_key" in "\n".join(caught.value.lines)


def test_a_key_tree_without_room_for_the_members_is_refused(example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.gcks.setup.too_many", lambda degree, members: f"{members} do not fit {degree}")
    example.write_text(example.read_text() + KEK + 'destination = "239.9.9.9"\nlkh = { degree = 3 }\n')
    with pytest.raises(ConfigErrors) as caught:
        read(example)
    assert "kek.lkh].degree: 2 do not fit 3" in "\n".join(caught.value.lines)
