import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

import agent.config
from agent.config.loader import ConfigErrors, load
from agent.config.member import Leave, MemberConfig, OnStop, Register
from agent.gsa.flow import Flow
from agent.gsa.flow_rule import FlowRule
from agent.gsa.gpad import PeerMethod
from agent.gsa.role import Role
from agent.gsa.sequence import FirstSequence, high_half_known_s
from agent.logs import LogFormat

Writer: TypeAlias = Callable[[str], Path]

EXAMPLE = Path(agent.config.__file__).parent / "examples" / "gmd.toml"

SMALL = """
[identity]
type = "fqdn"
value = "gm.example"
[[key_servers]]
name = "ks1"
address = "192.0.2.1"
identity = { type = "fqdn", value = "ks1.example" }
psk_file = "psk"
groups = [1234, 1235]
transforms = ["aes-gcm-16-128"]
[[groups]]
id = 1234
name = "video"
key_servers = ["ks1"]
role = "receiver"
traffic = [{ destination = "239.1.1.1" }]
"""


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    def write(text: str) -> Path:
        for name in ("psk", "key"):
            (tmp_path / name).write_text("secret")
            (tmp_path / name).chmod(0o600)
        (tmp_path / "pem").write_text("pem")
        path = tmp_path / "gmd.toml"
        path.write_text(text)
        return path

    return write


def faults(path: Path) -> dict[str, str]:
    with pytest.raises(ConfigErrors) as caught:
        load(path, MemberConfig)
    return {fault.key: fault.message for fault in caught.value.faults}


def test_the_example_loads(tmp_path: Path) -> None:
    shutil.copy(EXAMPLE, tmp_path)
    for name in ("ks1.psk", "receiver1.key", "receiver1.pem", "ca.pem"):
        (tmp_path / name).write_text("x")
        (tmp_path / name).chmod(0o600)
    config = load(tmp_path / "gmd.toml", MemberConfig)
    assert [server.method for server in config.key_servers] == [PeerMethod.PRE_SHARED_KEY, PeerMethod.ECDSA]
    assert [group.name for group in config.groups] == ["video", "telemetry"]
    assert config.groups[0].join
    assert config.gpad_flows(config.key_server("ks2")) == config.groups[0].flows


def test_what_is_left_out_has_its_default(write: Writer) -> None:
    config = load(write(SMALL), MemberConfig)
    server, group = config.key_servers[0], config.groups[0]
    assert (config.gmd.port, config.gmd.retry_first_s, config.gmd.retry_most_s) == (0, 2, 300)
    assert (server.port, server.method, server.phase1) == (848, PeerMethod.PRE_SHARED_KEY, ())
    assert (group.role, group.join, group.on_stop, group.interface) == (Role.RECEIVER, False, OnStop.BLOCK, None)
    assert config.gpad_flows(server) == (Flow.parse("239.1.1.1"),)
    assert config.gmd.log_form is LogFormat.default()
    assert (group.rekey_interface, group.resume) == (None, FirstSequence(1.0))


def test_where_rekeys_come_in_and_where_a_sender_counts_on_may_be_said(write: Writer) -> None:
    role = 'role = "receiver"'
    faster = SMALL.replace(role, f'{role}\nrekey_interface = "eth1"\nresume_rate_factor = 2.5')
    (group, *_) = load(write(faster), MemberConfig).groups
    assert (group.rekey_interface, group.resume) == ("eth1", FirstSequence(2.5))
    (group, *_) = load(write(SMALL.replace(role, f"{role}\nresume_sequence = false")), MemberConfig).groups
    assert group.resume is None


def test_a_key_server_with_flows_may_give_those_alone(write: Writer) -> None:
    text = SMALL.replace("transforms =", 'flows = [{ destination = "239.1.0.0/16" }]\ntransforms =')
    config = load(write(text), MemberConfig)
    assert config.gpad_flows(config.key_servers[0]) == (FlowRule.parse(["239.1.0.0/16"]),)


@pytest.mark.parametrize(
    ("old", "new", "key", "says"),
    [
        ('psk_file = "psk"\n', "", "[key_servers[0]]", "missing: psk_file"),
        (
            'psk_file = "psk"\n',
            'psk_file = "psk"\ncertificate = "pem"\n',
            "[key_servers[0]]",
            "not allowed: certificate",
        ),
        (
            'psk_file = "psk"\n',
            'method = "rsa"\npsk_file = "psk"\ncertificate = "pem"\n',
            "[key_servers[0]]",
            "missing: private_key, trust_anchors; not allowed: psk_file",
        ),
        ("groups = [1234, 1235]", "groups = 7", "[key_servers[0]].groups", "an array, got 7"),
        ('["ks1"]', '["ks1", "ks9"]', "[groups[0]].key_servers[1]", "one of the key servers ks1, got ks9"),
        ("[1234, 1235]", "[1235]", "[groups[0]].key_servers[0]", "does not list group 1234"),
        ('role = "receiver"', 'role = "boss"', "[groups[0]].role", 'one of "sender", "receiver", "both", got "boss"'),
        ('role = "receiver"', 'role = "receiver"\njoin = true', "[groups[0]]", "needs interface"),
        ('role = "receiver"', 'role = "receiver"\nresume_rate_factor = 0', "[groups[0]].resume_rate_factor", "0.001"),
        (
            'role = "receiver"',
            'role = "sender"\njoin = true\ninterface = "eth0"',
            "[groups[0]]",
            "role is sender",
        ),
        (
            'role = "receiver"\ntraffic = [{ destination = "239.1.1.1" }]',
            'role = "receiver"\njoin = true\ninterface = "eth0"\ntraffic = [{ destination = "239.1.1.0/24" }]',
            "[groups[0]]",
            "one address each",
        ),
        ('"239.1.1.1"', '"127.0.0.1"', "[groups[0].traffic[0]]", "reaches into no multicast, loopback or link-local"),
        ('"239.1.1.1"', '"0.0.0.0/0"', "[groups[0].traffic[0]]", "reaches into no multicast, loopback or link-local"),
        ('role = "receiver"', 'role = "receiver"\nregister = "first-packet"', "[groups[0]].register", "for a receiver"),
        ('role = "receiver"', 'role = "sender"\nregister = "join"', "[groups[0]].register", "for a sender"),
        ('role = "receiver"', 'role = "receiver"\nleave = "deregister"', "[groups[0]].leave", "goes with register"),
        (
            'role = "receiver"',
            'role = "receiver"\nregister = "join"\njoin = true\ninterface = "eth0"',
            "[groups[0]].register",
            "take one",
        ),
        (
            'role = "receiver"\ntraffic = [{ destination = "239.1.1.1" }]',
            'role = "receiver"\njoin = true\ninterface = "eth0"\ntraffic = [{ destination = "192.0.2.0/24" }]',
            "[groups[0]]",
            "to groups with one address each",
        ),
        ('role = "receiver"', 'role = "receiver"\nregsiter = "join"', "[groups[0]].regsiter", "is register meant"),
        (
            '"239.1.1.1"',
            '"239.1.1.1", protocol = "udp", port = 848',
            "[groups[0].traffic[0]]",
            "other traffic than GDOI, IGMP",
        ),
        ("[identity]", "[gmd]\nretry_first_s = 9\nretry_most_s = 8\n[identity]", "[gmd]", "at most retry_most_s, 8"),
    ],
)
def test_contradictions_are_told(write: Writer, old: str, new: str, key: str, says: str) -> None:
    assert old in SMALL
    found = faults(write(SMALL.replace(old, new)))
    assert list(found) == [key]
    assert says in found[key]


def test_names_identifiers_and_endpoints_are_used_once(write: Writer) -> None:
    server = SMALL[SMALL.index("[[key_servers]]") : SMALL.index("[[groups]]")]
    group = SMALL[SMALL.index("[[groups]]") :].replace("239.1.1.1", "239.1.1.2")
    found = faults(write(SMALL.replace("[[groups]]", server + "[[groups]]", 1) + group))
    assert found == {
        "[key_servers[0]].name": "used 2 times, once is allowed, got ks1",
        "[key_servers[1]].name": "used 2 times, once is allowed, got ks1",
        "[key_servers[1]]": "has the address and port of key_servers[0]: each key server has its own",
        "[groups[0]].name": "used 2 times, once is allowed, got video",
        "[groups[1]].name": "used 2 times, once is allowed, got video",
        "[groups[0]].id": "used 2 times, once is allowed, got 1234",
        "[groups[1]].id": "used 2 times, once is allowed, got 1234",
    }


def test_two_groups_do_not_share_packets(write: Writer) -> None:
    group = SMALL[SMALL.index("[[groups]]") :].replace("1234", "1235").replace("video", "audio")
    wider = group.replace('"239.1.1.1"', '"239.1.0.0/16"')
    found = faults(write(SMALL + wider))
    assert list(found) == ["[groups[1].traffic[0]]"]
    assert "overlaps the traffic any -> 239.1.1.1/32 of groups[0]" in found["[groups[1].traffic[0]]"]


def test_faults_of_values_hide_none_between_tables(write: Writer) -> None:
    found = faults(write(SMALL.replace('["ks1"]', '["ks9"]').replace("239.1.1.1", "nowhere")))
    assert set(found) == {"[groups[0].traffic[0]]", "[groups[0]].key_servers[0]"}


@pytest.mark.parametrize("key", ["id", "name", "role", "key_servers", "traffic"])
def test_a_group_without_one_of_its_keys_is_told(write: Writer, key: str) -> None:
    head, _, group = SMALL.partition("[[groups]]")
    kept = "".join(line for line in group.splitlines(keepends=True) if not line.startswith(key))
    assert faults(write(f"{head}[[groups]]{kept}"))[f"[groups[0]].{key}"] == "is missing"


def test_names_that_are_none_are_told_and_nothing_else_happens(write: Writer) -> None:
    told = faults(write(SMALL.replace('name = "ks1"', 'name = ["ks1"]')))
    assert told["[key_servers[0]].name"].startswith("a name in quotes")


def test_a_wrong_value_does_not_hide_what_its_table_contradicts(write: Writer) -> None:
    text = SMALL.replace("[identity]", '[gmd]\nport = "848"\nretry_first_s = 9\nretry_most_s = 8\n[identity]')
    text = text.replace('name = "ks1"', 'name = "k s"\nmethod = "rsa"')
    text = text.replace('name = "video"', 'name = "vi deo"\njoin = true')
    told = faults(write(text))
    assert {
        "[gmd].port",
        "[gmd]",
        "[key_servers[0]].name",
        "[key_servers[0]]",
        "[groups[0]].name",
        "[groups[0]]",
    } <= set(told)
    assert told["[gmd]"] == "retry_first_s is at most retry_most_s, 8, got 9"
    assert "missing: certificate, private_key, trust_anchors; not allowed: psk_file" in told["[key_servers[0]]"]


def test_a_group_waits_for_a_reason_only_where_it_is_told_to(write: Writer) -> None:
    (group,) = load(write(SMALL), MemberConfig).groups
    assert (group.registers, group.leave, group.idle_s) == (Register.ALWAYS, Leave.KEEP, 300)
    told = SMALL.replace('role = "receiver"', 'role = "receiver"\nregister = "join"\nleave = "deregister"\nidle_s = 20')
    (group,) = load(write(told), MemberConfig).groups
    assert (group.registers, group.leave, group.idle_s) == (Register.JOIN, Leave.DEREGISTER, 20)


def test_traffic_may_be_a_unicast_prefix_and_is_not_joined(write: Writer) -> None:
    both = '[{ destination = "239.1.1.1" }, { destination = "192.0.2.0/24", source = "192.0.2.0/24" }]'
    text = SMALL.replace('[{ destination = "239.1.1.1" }]', both)
    joined = text.replace('role = "receiver"', 'role = "receiver"\njoin = true\ninterface = "eth0"')
    (group,) = load(write(joined), MemberConfig).groups
    assert [str(flow.destination) for flow in group.flows] == ["239.1.1.1/32", "192.0.2.0/24"]


def test_replay_windows_have_the_standard_s_least_and_the_kernel_s_most(write: Writer) -> None:
    assert load(write(SMALL), MemberConfig).groups[0].replay_window == 64
    for packets in (0, 32, 4096):
        assert load(write(SMALL + f"replay_window = {packets}\n"), MemberConfig).groups[0].replay_window == packets
    for packets in (-1, 1, 31, 4097):
        told = faults(write(SMALL + f"replay_window = {packets}\n"))["[groups[0]].replay_window"]
        assert "0 or 32 to 4096 packets" in told


@pytest.mark.requirement("ESP-2.2-03")
def test_extended_sequence_numbers_need_teks_of_short_lives(write: Writer) -> None:
    young = SMALL + 'esn = "young"\n'
    place, most_s = "[groups[0]].esn", high_half_known_s()

    def lives(limit_s: int, text: str = young) -> str:
        return text.replace("groups = [1234, 1235]\n", f"groups = [1234, 1235]\nmax_lifetime_s = {limit_s}\n")

    assert load(write(SMALL), MemberConfig).groups[0].esn_lifetime_s is None
    assert load(write(lives(most_s)), MemberConfig).groups[0].esn_lifetime_s == most_s
    for text in (young, lives(most_s + 1), lives(most_s, young + "resume_rate_factor = 2.0\n")):
        assert "needs max_lifetime_s of at most" in faults(write(text))[place]
