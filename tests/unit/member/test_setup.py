import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from netaddr import IPAddress

from agent.config.loader import ConfigErrors
from agent.crypto.signatures import SignatureAlgorithm
from agent.gdoi.isakmp.policy import DEFAULT_SUITES
from agent.gsa.flow import Flow
from agent.gsa.identity import Identity, IdentityKind
from agent.member.joins import Membership
from agent.member.setup import look_around, prepare
from agent.wire.endpoint import Endpoint
from tests.unit.member.support import GCKS, GCM, GROUP, configuration, group_table

LOCAL = Endpoint(IPAddress("0.0.0.0"), 0)


def certify(folder: Path, name: str, *, key_for: str | None = None) -> None:
    """A self-signed certificate NAME.pem with NAME.key, or the key of another pair."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=30))
        .sign(key, hashes.SHA256())
    )
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / f"{key_for or name}.key"
    path.write_bytes(pem)
    path.chmod(0o600)


def by_certificate(folder: Path, method: str = "ecdsa") -> Path:
    path = configuration(folder)
    credentials = f'method = "{method}"\ncertificate = "gm.pem"\nprivate_key = "gm.key"\ntrust_anchors = "ca.pem"\n'
    path.write_text(path.read_text().replace('psk_file = "ks1.psk"\n', credentials))
    return path


@pytest.mark.requirement("GDOI-3.1-01")
def test_each_key_server_has_its_gpad_entry(tmp_path: Path) -> None:
    entry = prepare(configuration(tmp_path)).servers["ks1"].entry
    assert entry.identities == (GCKS,)
    assert entry.permits_group(GROUP)
    assert (entry.flows, entry.transforms) == ((Flow.parse("239.1.1.1"),), frozenset({GCM}))


def test_a_pre_shared_key_goes_with_the_key_servers_address(tmp_path: Path) -> None:
    server = prepare(configuration(tmp_path)).servers["ks1"]
    key = server.credentials.pre_shared_key(IPAddress("127.0.0.1"))
    assert key is not None
    assert key.key.reveal() == b"open sesame"
    assert server.credentials.pre_shared_key(IPAddress("127.0.0.2")) is None
    assert "sesame" not in repr(server)


def test_the_engine_is_set_up_with_what_the_file_says(tmp_path: Path) -> None:
    path = configuration(tmp_path, port=10848)
    settings = prepare(path).servers["ks1"].settings(LOCAL)
    assert settings.key_server == Endpoint(IPAddress("127.0.0.1"), 10848)
    assert settings.identity == Identity.parse(IdentityKind.FQDN, "gm.example")
    assert settings.suites == DEFAULT_SUITES
    path.write_text(path.read_text().replace("psk_file", 'phase1 = ["aes-cbc-256/sha2-384/ecp-384"]\npsk_file'))
    assert [str(suite) for suite in prepare(path).servers["ks1"].settings(LOCAL).suites] == [
        "aes-cbc-256/sha2-384/ecp-384"
    ]


def test_a_certificate_comes_with_its_signer_and_anchors(tmp_path: Path) -> None:
    certify(tmp_path, "ca")
    certify(tmp_path, "gm")
    credentials = prepare(by_certificate(tmp_path)).servers["ks1"].credentials
    own = credentials.certificate()
    assert own is not None
    assert own.signer.algorithm is SignatureAlgorithm.ECDSA_256
    assert (len(own.chain), len(credentials.trust_anchors())) == (1, 1)
    assert credentials.pre_shared_key(IPAddress("127.0.0.1")) is None


def test_files_that_do_not_belong_together_are_told(tmp_path: Path) -> None:
    certify(tmp_path, "ca")
    certify(tmp_path, "gm")
    path = by_certificate(tmp_path, "rsa")
    with pytest.raises(ConfigErrors) as caught:
        prepare(path)
    assert 'has a key for "ecdsa", but method is "rsa"' in caught.value.lines[0]
    certify(tmp_path, "other", key_for="gm")
    with pytest.raises(ConfigErrors) as caught:
        prepare(by_certificate(tmp_path))
    assert "gm.key is not the key of the first certificate" in caught.value.lines[0]
    (tmp_path / "ca.pem").write_text("no PEM")
    (tmp_path / "gm.key").write_text("no PEM")
    with pytest.raises(ConfigErrors) as caught:
        prepare(by_certificate(tmp_path))
    assert "name an unencrypted PEM private key" in caught.value.lines[0]
    (tmp_path / "gm.pem").write_text("no PEM")
    with pytest.raises(ConfigErrors) as caught:
        prepare(by_certificate(tmp_path))
    assert "gm.pem holds no certificate" in caught.value.lines[0]


def test_a_key_server_is_the_same_while_its_table_key_and_our_identity_are(tmp_path: Path) -> None:
    first = prepare(configuration(tmp_path)).servers["ks1"]
    assert prepare(configuration(tmp_path)).servers["ks1"] == first
    (tmp_path / "ks1.psk").write_text("changed")
    assert prepare(tmp_path / "gmd.toml").servers["ks1"] != first
    path = configuration(tmp_path)
    path.write_text(path.read_text().replace("gm.example", "other.example"))
    assert prepare(path).servers["ks1"] != first


def test_a_clean_stop_blocks_the_groups_that_do_not_say_otherwise(tmp_path: Path) -> None:
    groups = group_table(1234, "239.1.1.1") + group_table(1235, "239.1.1.2", extra='on_stop = "remove"')
    setup = prepare(configuration(tmp_path, groups=groups))

    def blocked(databases: object) -> bool:
        return "239.1.1.2" in str(databases)

    assert blocked(setup.gspd().desired({}, 0.0).databases.spd)
    assert not blocked(setup.gspd_after_stop().desired({}, 0.0).databases.spd)
    assert "239.1.1.1" in str(setup.gspd_after_stop().desired({}, 0.0).databases.spd)


def test_what_is_to_be_joined(tmp_path: Path) -> None:
    joins = group_table(1234, "239.1.1.1", extra='join = true\ninterface = "eth0"') + group_table(1235, "239.1.1.2")
    setup = prepare(configuration(tmp_path, groups=joins))
    assert setup.memberships() == (Membership("eth0", IPAddress("239.1.1.1"), None),)


def test_what_the_file_names_and_the_host_lacks_is_told_all_at_once(tmp_path: Path) -> None:
    groups = group_table(1234, "239.1.1.1", extra='interface = "lo"')
    groups += group_table(1235, "239.1.1.2", extra='interface = "nowhere0"')
    path = configuration(tmp_path, groups=groups)
    path.write_text(path.read_text().replace('"gmd.sock"', '"run/gmd.sock"'))
    with pytest.raises(ConfigErrors) as caught:
        look_around(prepare(path))
    found = {fault.key: fault.message for fault in caught.value.faults}
    assert found.keys() == {"[gmd].control_socket", "[groups[1]].interface"}
    assert found["[gmd].control_socket"].startswith(f"there is no folder {tmp_path}/run: create it")
    assert found["[groups[1]].interface"].startswith("there is no interface nowhere0 now")
    (tmp_path / "run").mkdir()
    path.write_text(path.read_text().replace("nowhere0", "lo"))
    look_around(prepare(path))
