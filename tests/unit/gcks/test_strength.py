from pathlib import Path

import pytest

from agent.config.gcks import KeyServerConfig
from agent.config.loader import load
from agent.gcks.strength import strength_warnings

FILE = """
[identity]
type = "fqdn"
value = "ks1.example"
[authentication]
{phase1}
[[members]]
name = "sender"
identity = {{ type = "fqdn", value = "sender.example" }}
address = "192.0.2.1"
psk_file = "sender.psk"
[[groups]]
id = 1
name = "one"
members = [{{ name = "sender", role = "sender" }}]
[[groups.teks]]
flow = {{ destination = "239.1.1.1", source = "192.0.2.1" }}
transform = "{transform}"
[groups.kek]
source = "192.0.2.1"
destination = "239.1.1.254"
{cipher}
"""
STRONG = 'phase1 = ["aes-cbc-256/sha2-384/ecp-384"]'
TRIPLE = 'phase1 = ["3des-cbc/sha1/modp-1024"]'


def configured(folder: Path, phase1: str, transform: str, cipher: str) -> KeyServerConfig:
    (folder / "sender.psk").write_text("0123456789abcdef0123456789abcdef")
    (folder / "sender.psk").chmod(0o600)
    path = folder / "gckd.toml"
    path.write_text(FILE.format(phase1=phase1, transform=transform, cipher=cipher))
    return load(path, KeyServerConfig)


@pytest.mark.requirement("GDOI-7.1.2-01")
@pytest.mark.parametrize(
    ("phase1", "transform", "cipher", "places"),
    [
        ("", "aes-gcm-16-128", "", []),
        ("", "aes-gcm-16-256", "", ["[groups[0].teks[0]].transform"]),
        ("", "aes-gcm-16-128", 'cipher = "aes-cbc-256"', ["[groups[0].kek].cipher"]),
        (STRONG, "aes-gcm-16-256", 'cipher = "aes-cbc-256"', []),
        (TRIPLE, "aes-gcm-16-128", 'cipher = "3des-cbc"', ["[groups[0].teks[0]].transform"]),
        (TRIPLE, "3des-cbc+hmac-sha1", "", []),
    ],
)
def test_keys_longer_than_those_of_phase_1_are_warned_of(
    tmp_path: Path, phase1: str, transform: str, cipher: str, places: list[str]
) -> None:
    warnings = list(strength_warnings(configured(tmp_path, phase1, transform, cipher)))
    assert [warning.split(" has a key of ")[0] for warning in warnings] == places
