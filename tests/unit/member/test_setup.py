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
from agent.datapath.port import Capabilities
from agent.gdoi.isakmp.phase1_state import SendCertificates
from agent.gdoi.isakmp.policy import DEFAULT_SUITES
from agent.gdoi.retransmit import RetryPolicy
from agent.gdoi.settings import Keeping, MemberSettings
from agent.gdoi.tolerances import SignatureKeyForm, Tolerances
from agent.gsa.flow import Flow
from agent.gsa.gpad import LifetimeBounds, PeerMethod
from agent.gsa.identity import Identity, IdentityKind
from agent.gsa.oid import OidSelector
from agent.gsa.pad import PadId
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
        .add_extension(x509.BasicConstraints(ca=name == "ca", path_length=None), critical=True)
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
    assert entry.identities == (PadId.of(GCKS),)
    assert entry.permits_group(GROUP)
    assert (entry.flows, entry.transforms) == ((Flow.parse("239.1.1.1"),), frozenset({GCM}))


def test_a_pre_shared_key_goes_with_the_key_servers_address(tmp_path: Path) -> None:
    server = prepare(configuration(tmp_path)).servers["ks1"]
    key = server.credentials.pre_shared_key(IPAddress("127.0.0.1"))
    assert key is not None
    assert key.key.reveal() == b"open sesame, and stay open"
    assert server.credentials.pre_shared_key(IPAddress("127.0.0.2")) is None
    assert "sesame" not in repr(server)


def test_the_engine_is_set_up_with_what_the_file_says(tmp_path: Path) -> None:
    path = configuration(tmp_path, port=10848)
    settings = prepare(path).servers["ks1"].settings(LOCAL, None, 20.0)
    assert settings.key_server == Endpoint(IPAddress("127.0.0.1"), 10848)
    assert settings.identity == Identity.parse(IdentityKind.FQDN, "gm.example")
    assert settings.suites == DEFAULT_SUITES
    path.write_text(path.read_text().replace("psk_file", 'phase1 = ["aes-cbc-256/sha2-384/ecp-384"]\npsk_file'))
    assert [str(suite) for suite in prepare(path).servers["ks1"].settings(LOCAL, None, 20.0).suites] == [
        "aes-cbc-256/sha2-384/ecp-384"
    ]


def test_a_certificate_comes_with_its_signer_and_anchors(tmp_path: Path) -> None:
    certify(tmp_path, "ca")
    certify(tmp_path, "gm")
    credentials = prepare(by_certificate(tmp_path)).servers["ks1"].credentials
    own = credentials.certificate()
    assert own is not None
    assert own.signer.algorithm is SignatureAlgorithm.ECDSA_256
    assert (len(own.chain), len(credentials.trust().anchors)) == (1, 1)
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
    groups += group_table(1235, "239.1.1.2", extra='interface = "nowhere0"\nrekey_interface = "nowhere1"')
    path = configuration(tmp_path, groups=groups)
    path.write_text(path.read_text().replace('"gmd.sock"', '"run/gmd.sock"'))
    with pytest.raises(ConfigErrors) as caught:
        look_around(prepare(path))
    found = {fault.key: fault.message for fault in caught.value.faults}
    assert found.keys() == {"[gmd].control_socket", "[groups[1]].interface", "[groups[1]].rekey_interface"}
    assert found["[gmd].control_socket"].startswith(f"there is no folder {tmp_path}/run: create it")
    assert found["[groups[1]].interface"].startswith("there is no interface nowhere0 now")
    (tmp_path / "run").mkdir()
    path.write_text(path.read_text().replace("nowhere0", "lo").replace("nowhere1", "lo"))
    look_around(prepare(path))


def test_what_phase_1_and_the_key_server_are_like_reaches_the_engine(tmp_path: Path) -> None:
    path = configuration(tmp_path)
    keys = """
phase1_lifetime_s = 3600
phase1_lifetime_kb = 5000
phase1_idle_s = 30
keep_phase1 = "keep"
dpd_idle_s = 0
aggressive = true
aggressive_encrypted = false
send_certificates = "when-asked"
ecdsa_over_hash = true
match_address = false
initial_contact = false
nat_traversal_port = 14500
fragmentation = false
fragment_octets = 1400
retransmissions = 3
tolerances = { id_length_octets = 2, signature_key = "pkcs1", ignore_private_attributes = true, rfc3547 = true }
psk_file"""
    path.write_text(path.read_text().replace("psk_file", keys, 1))
    natt = Endpoint(IPAddress("0.0.0.0"), 4500)  # unspecified on purpose
    setup = prepare(path)
    settings = setup.servers["ks1"].settings(LOCAL, natt, 15.0)
    assert settings == MemberSettings(
        key_server=Endpoint(IPAddress("127.0.0.1"), 848),
        local=LOCAL,
        identity=Identity.parse(IdentityKind.FQDN, "gm.example"),
        lifetime_s=3600,
        idle_s=30,
        retry=RetryPolicy(retries=3),
        lifetime_kb=5000,
        keeping=Keeping.KEEP,
        dpd_idle_s=None,
        aggressive=True,
        aggressive_encrypted=False,
        certificates=SendCertificates.WHEN_ASKED,
        ecdsa_over_hash=True,
        match_address=False,
        initial_contact=False,
        local_natt=natt,
        key_server_natt_port=14500,
        keepalive_s=15.0,
        fragmentation=False,
        fragment_octets=1400,
        tolerances=Tolerances(2, SignatureKeyForm.PKCS1, ignore_private_attributes=True, rfc3547=True),
    )
    assert [warning.partition(": ")[0] for warning in setup.warnings] == [
        "[key_servers[0]]",
        "[key_servers[0]].tolerances",
    ]
    assert "identities go in clear" in setup.warnings[0]


def test_a_gpad_entry_says_all_that_the_standard_has(tmp_path: Path) -> None:
    path = configuration(tmp_path)
    text = path.read_text()
    text = text.replace('value = "ks1.example"', 'value = ".example"').replace(
        "psk_file",
        """modes = ["transport"]
min_lifetime_s = 60
max_lifetime_s = 7200
iec61850 = ["1.2.840.10070.61850.8.1.2", "1.2.840.10070.61850.9.2/0x0102"]
iec61850_transforms = ["aes-gcm-128"]
rekey = { ciphers = ["aes-cbc-256"], signatures = ["ecdsa-384"], max_lifetime_s = 86400 }
psk_file""",
        1,
    )
    text = text.replace(
        "[[groups]]",
        """[[key_servers.flows]]
destination = ["239.1.0.0/16", "ff3e::8000:0-ff3e::8000:ff"]
source = "192.0.2.1-192.0.2.9"
protocol = "udp"
port = "5000-5010"
[[groups]]""",
        1,
    )
    path.write_text(text)
    entry = prepare(path).servers["ks1"].entry
    assert entry.stands_for(Identity.parse(IdentityKind.FQDN, "ks9.example"))
    assert entry.methods == {PeerMethod.PRE_SHARED_KEY}
    inside = Flow.parse("239.1.2.3", "192.0.2.5", protocol=17, port=5005)
    assert [flow.covers(inside) for flow in entry.flows] == [True]
    assert not any(flow.covers(Flow.parse("239.1.2.3", protocol=17, port=5005)) for flow in entry.flows)
    assert entry.lifetimes == LifetimeBounds(60, 7200)
    assert [rule.covers(OidSelector("1.2.840.10070.61850.9.2", b"\x01\x02")) for rule in entry.selectors] == [
        False,
        True,
    ]
    assert entry.rekey.signatures == {"ecdsa-384"}
    assert entry.rekey.lifetimes == LifetimeBounds(0, 86400)


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ('flows = [{ destination = "224.0.0.0/3" }]', "multicast or unicast as a whole, got 224.0.0.0/3"),
        ('flows = [{ destination = "any" }]', "multicast or unicast as a whole, got any"),
        ('flows = [{ destination = "239.1.1.1", port = 5000 }]', "ports need a protocol"),
        ("flows = [{ destination = [] }]", "an address, a prefix or FIRST-LAST in quotes"),
        ("min_lifetime_s = 60\nmax_lifetime_s = 30", "lifetimes from 60 to 30 s are none"),
        ('rekey = { ciphers = ["des"] }', "a cipher of the KEK: one of aes-cbc-128"),
        ('rekey = { signatures = ["dss"] }', "a signature of GROUPKEY-PUSH: one of rsa"),
        ('iec61850 = ["goose"]', "'goose' is no OID"),
        ('keep_phase1 = "forever"', "one of 'drop', 'idle' or 'keep'"),
        ('crls = ["ca.crl"]', "not allowed: crls"),
        ("aggressive = 1", "true or false"),
    ],
)
def test_what_a_gpad_entry_cannot_say(tmp_path: Path, key: str, says: str) -> None:
    path = configuration(tmp_path)
    path.write_text(path.read_text().replace("psk_file", f"{key}\npsk_file", 1))
    with pytest.raises(ConfigErrors) as caught:
        prepare(path)
    assert says in "\n".join(caught.value.lines)


def test_groups_are_named_in_any_form(tmp_path: Path) -> None:
    path = configuration(tmp_path)
    path.write_text(path.read_text().replace("groups = [1234, 1235]", 'groups = ["0x000004d2"]'))
    assert prepare(path).servers["ks1"].entry.groups == {GROUP}


def test_weak_suites_and_transforms_are_told(tmp_path: Path) -> None:
    path = configuration(tmp_path)
    text = path.read_text().replace('["aes-gcm-16-128"]', '["3des-cbc+hmac-sha1", "aes-gcm-16-128"]')
    path.write_text(text.replace("psk_file", 'phase1 = ["3des-cbc/sha1/modp-1024"]\npsk_file', 1))
    try:
        warnings = prepare(path).warnings
    except ConfigErrors as errors:
        pytest.skip(f"this host has no 3DES: {errors.lines[0]}")
    assert warnings[0].startswith("[key_servers[0]]: phase1 suite 3des-cbc/sha1/modp-1024 is weak: ")
    assert warnings[1] == "[key_servers[0]]: weak, for old peers only: 3des-cbc+hmac-sha1"


def test_a_short_pre_shared_key_is_told(tmp_path: Path) -> None:
    path = configuration(tmp_path)
    assert prepare(path).warnings == ()
    (tmp_path / "ks1.psk").write_text("sesame\n")
    (warning,) = prepare(path).warnings
    assert warning.startswith("[key_servers[0]].psk_file: a pre-shared key of fewer than 16 octets can be guessed")
    assert "sesame" not in warning


def test_traffic_beyond_the_flows_of_its_key_server_is_told(tmp_path: Path) -> None:
    path = configuration(tmp_path)
    text = path.read_text()
    path.write_text(text.replace("psk_file", 'flows = [{ destination = "239.1.0.0/16" }]\npsk_file', 1))
    assert prepare(path).warnings == ()
    path.write_text(text.replace("psk_file", 'flows = [{ destination = "239.2.0.0/16" }]\npsk_file', 1))
    (warning,) = prepare(path).warnings
    assert warning.startswith("[groups[0].traffic[0]]: ")
    assert "within none of the flows of key server ks1" in warning


@pytest.mark.parametrize("why", [None, "no clsact"])
def test_what_marks_need_reaches_the_gspd(tmp_path: Path, why: str | None) -> None:
    table = group_table(1234, "239.1.1.1", extra='interface = "lo"')
    setup = prepare(configuration(tmp_path, groups=table))
    gspd = setup.gspd(capabilities=Capabilities(frozenset({4}), frozenset({GCM}), why))
    assert gspd.why_no_marks == why
    (ingress,) = gspd.ingress.values()
    assert ingress.interface == "lo"
    assert setup.gspd().why_no_marks is None
