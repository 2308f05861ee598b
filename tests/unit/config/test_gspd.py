from collections.abc import Callable
from pathlib import Path

import pytest

import agent.config
from agent.config.loader import ConfigErrors, load
from agent.config.member import GroupTable, MemberConfig
from agent.gsa.databases import Action
from agent.gsa.sa import AddressPreservation, Direction

Writer = Callable[[str], Path]

HEAD = """
[identity]
type = "fqdn"
value = "gm.example"
[[key_servers]]
name = "ks1"
address = "192.0.2.1"
identity = { type = "fqdn", value = "ks.example" }
psk_file = "key"
groups = [7, 8]
transforms = ["aes-gcm-16-128"]
"""
GROUP = """
[[groups]]
id = 7
name = "video"
key_servers = ["ks1"]
role = "both"
"""
MEDIA = '{ name = "media", action = "protect", destination = "239.1.1.1", protocol = "udp", port = "5000-5001" }'
NEWS = '{ name = "news", action = "bypass", destination = "239.1.1.1", protocol = "udp", port = 9875 }'

NEWS_IN_TUNNEL = NEWS.replace("}", ', address_preservation = "both" }')


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    def write(text: str) -> Path:
        key = tmp_path / "key"
        key.write_text("0123456789abcdef0123456789abcdef\n")
        key.chmod(0o600)
        path = tmp_path / "gmd.toml"
        path.write_text(HEAD + text)
        path.chmod(0o600)
        return path

    return write


def group(path: Path) -> GroupTable:
    (table,) = load(path, MemberConfig).groups
    return table


def faults(path: Path) -> dict[str, str]:
    with pytest.raises(ConfigErrors) as caught:
        load(path, MemberConfig)
    return {fault.key: fault.message for fault in caught.value.faults}


def test_entries_are_read_in_their_order(write: Writer) -> None:
    feedback = (
        '{ name = "feedback", action = "discard", direction = "receiver-only", destination = "192.0.2.10",'
        ' source = "192.0.2.16-192.0.2.47", protocol = "icmp", icmp_type = 3, icmp_code = 1 }'
    )
    tunnel = MEDIA.replace("}", ', address_preservation = "both" }')
    table = group(write(f"{GROUP}entries = [{NEWS}, {tunnel}, {feedback}]"))
    news, media, reports = table.gspd_entries
    assert [entry.name for entry in table.gspd_entries] == ["news", "media", "feedback"]
    assert (news.action, news.direction) == (Action.BYPASS, Direction.SYMMETRIC)
    assert media.preserve is AddressPreservation.BOTH
    assert [str(flow) for flow in media.flows] == ["any -> 239.1.1.1/32 udp port 5000-5001"]
    assert [str(flow.source) for flow in reports.flows] == ["192.0.2.16/28", "192.0.2.32/28"]
    assert {(flow.icmp_type, flow.icmp_code) for flow in reports.flows} == {(3, 1)}
    assert table.flows == media.flows


@pytest.mark.parametrize(
    ("entries", "place", "words"),
    [
        (f"[{MEDIA}, {MEDIA.replace('media', 'again')}]", "[groups[0].entries[1]]", "is shadowed: entry media"),
        (
            f"[{NEWS}, {NEWS.replace('news', 'no-news').replace('bypass', 'discard')}, {MEDIA}]",
            "[groups[0].entries[1]]",
            "has all its packets and says bypass",
        ),
        (f"[{MEDIA}, {MEDIA.replace('5000-5001', '6000')}]", "[groups[0].entries[0]].name", "used 2 times"),
        (f"[{NEWS}]", "[groups[0]].entries", 'at least one entry says action = "protect"'),
        ("[]", "[groups[0]].entries", "at least one entry"),
        (f"[{MEDIA.replace('5000-5001', '5001-5000')}]", "[groups[0].entries[0]].port", "no range"),
        (
            f"[{MEDIA.replace('239.1.1.1', '239.1.1.1-239.1.1')}]",
            "[groups[0].entries[0]]",
            "is no address, prefix or FIRST-LAST",
        ),
        (f"[{MEDIA.replace('239.1.1.1', '239.1.1.9-239.1.1.1')}]", "[groups[0].entries[0]]", "is behind"),
        (f"[{MEDIA.replace('udp', 'any')}]", "[groups[0].entries[0]]", "a port goes with a protocol"),
        (f"[{MEDIA.replace('5000-5001', '848')}]", "[groups[0].entries[0]]", "control traffic"),
        (f"[{MEDIA.replace('239.1.1.1', '127.0.0.1')}]", "[groups[0].entries[0]]", "no group has"),
        (
            f"[{NEWS_IN_TUNNEL}, {MEDIA}]",
            "[groups[0].entries[0]]",
            "is for an entry that protects",
        ),
        (f"[{MEDIA.replace('protect', 'encrypt')}]", "[groups[0].entries[0]].action", '"protect", "bypass", "discard"'),
        (f"[{MEDIA.replace('}', ', icmp_type = 8 }')}]", "[groups[0].entries[0]]", "has no ICMP types"),
    ],
)
def test_what_entries_cannot_say(write: Writer, entries: str, place: str, words: str) -> None:
    found = faults(write(f"{GROUP}entries = {entries}"))
    assert words in found[place]


@pytest.mark.requirement("MIPSEC-4.1.2-01", "MIPSEC-5.1-02")
def test_addresses_of_different_ip_versions_are_refused_and_so_never_preserved(write: Writer) -> None:
    tunnel = MEDIA.replace("}", ', source = "2001:db8::1", address_preservation = "both" }')
    assert "differ in family" in faults(write(f"{GROUP}entries = [{tunnel}]"))["[groups[0].entries[0]]"]


def test_ranges_that_split_into_very_many_are_refused(write: Writer) -> None:
    wide = MEDIA.replace("239.1.1.1", "239.1.1.1-239.254.254.254").replace("5000-5001", "1-65534")
    assert "split into" in faults(write(f"{GROUP}entries = [{wide}]"))["[groups[0].entries[0]]"]


def test_traffic_and_entries_are_two_forms_of_one_thing(write: Writer) -> None:
    found = faults(write(f'{GROUP}traffic = [{{ destination = "239.1.1.2" }}]\nentries = [{MEDIA}]'))
    assert "take one" in found["[groups[0]].traffic"]
    assert faults(write(GROUP))["[groups[0]].traffic"] == "is missing"


def test_a_role_that_leaves_an_entry_nothing_to_do_is_told(write: Writer) -> None:
    only = MEDIA.replace("}", ', direction = "sender-only" }')
    text = GROUP.replace('"both"', '"receiver"')
    found = faults(write(f"{text}entries = [{only}]"))
    assert 'protects nothing in a group of role "receiver"' in found["[groups[0].entries[0]].direction"]


def test_entries_of_two_groups_share_no_packets(write: Writer) -> None:
    other = GROUP.replace("id = 7", "id = 8").replace("video", "audio")
    wide = NEWS.replace("9875", '"5001-5002"')
    text = f"{GROUP}entries = [{MEDIA}]{other}entries = [{wide}, {MEDIA.replace('5000-5001', '7000')}]"
    found = faults(write(text))
    assert "overlaps the traffic any -> 239.1.1.1/32 udp port 5000-5001" in found["[groups[1].entries[0]]"]


def test_a_group_with_entries_is_joined_where_it_protects(write: Writer) -> None:
    joined = f'{GROUP}join = true\ninterface = "eth0"\n'
    assert group(write(f"{joined}entries = [{MEDIA}]")).join
    unicast = MEDIA.replace("239.1.1.1", "192.0.2.9")
    assert "to groups with one address each" in faults(write(f"{joined}entries = [{unicast}]"))["[groups[0]]"]


def test_the_guide_s_example_loads(tmp_path: Path) -> None:
    guide = (Path(agent.config.__file__).parents[2] / "docs/gspd.md").read_text()
    (tmp_path / "ks1.psk").write_text("0123456789abcdef0123456789abcdef")
    (tmp_path / "ks1.psk").chmod(0o600)
    path = tmp_path / "gmd.toml"
    path.write_text(guide.split("```toml\n")[1].split("```")[0])
    (table,) = load(path, MemberConfig).groups
    assert [entry.name for entry in table.gspd_entries] == ["announcements", "media", "reports", "pings"]
    assert len(table.flows) == 3
