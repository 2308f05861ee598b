from netaddr import IPAddress

from agent.datapath.port import AddPolicy, AddSa, DeletePolicy, DeleteSa, Operation, ReplaceSa, UpdatePolicy
from agent.gsa.algorithms import Transform
from agent.gsa.databases import Action, PolicyDirection, SadEntry, SpdEntry
from agent.gsa.flow import Flow
from agent.gsa.sa import Mode, SecurityProtocol, Spi
from agent.secret import Secret

FLOW = Flow.parse("239.1.1.1")
SA = SadEntry(
    destination=IPAddress("239.1.1.1"),
    spi=Spi(0x1000),
    protocol=SecurityProtocol.ESP,
    source=None,
    mode=Mode.TRANSPORT,
    reqid=0x4D430001,
    transform=Transform.parse("aes-gcm-16-128"),
    cipher_key=Secret(b"\x5a" * 20),
    integrity_key=Secret(b""),
    selector=FLOW,
)
BLOCK = SpdEntry(PolicyDirection.OUT, FLOW, Action.DISCARD, 0x4D80)


def test_operations_say_themselves_in_words_and_never_a_key() -> None:
    operations: list[Operation] = [
        AddSa(SA),
        ReplaceSa(SA),
        DeleteSa(SA.key),
        AddPolicy(BLOCK),
        UpdatePolicy(BLOCK),
        DeletePolicy(BLOCK.key),
    ]
    assert [str(operation) for operation in operations] == [
        "add esp SA 0x00001000 to 239.1.1.1",
        "replace esp SA 0x00001000 to 239.1.1.1",
        "delete esp SA 0x00001000 to 239.1.1.1",
        "add out policy any -> 239.1.1.1/32 discard",
        "update out policy any -> 239.1.1.1/32 discard",
        "delete out policy any -> 239.1.1.1/32",
    ]
    assert all("5a5a" not in repr(operation) and "ZZ" not in repr(operation) for operation in operations)
