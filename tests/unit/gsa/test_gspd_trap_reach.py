"""What a packet that asks for an SA must not find: the SAs of its group that this member may not send on."""

from collections.abc import Iterable

import pytest
from netaddr import IPAddress

from agent.gsa.databases import Databases, SadEntry
from agent.gsa.expansion import Demand
from agent.gsa.flow import Flow
from agent.gsa.gspd import Desired
from agent.gsa.sa import DataSA, Direction
from tests.unit.gsa.test_gspd import GCM, OUT, data_sa
from tests.unit.gsa.test_gspd_ranges import G1, G2, GROUPS, HERE, desired, policy, to

NARROW = Flow.parse("239.1.0.0/24")


def found_by_the_kernel(databases: Databases, packet: Flow) -> list[SadEntry]:
    """The SAs that the kernel sends a packet on at once: the policy that wins, and what its template finds.

    A kernel before 6.10 knows no direction of an SA.
    """
    matching = [each for each in databases.spd if each.direction is OUT and each.flow.covers(packet)]
    template = min(matching, key=lambda each: each.priority).template
    if template is None:
        return []
    return [
        sa
        for sa in databases.sad
        if (sa.reqid, sa.protocol, sa.mode) == (template.reqid, template.protocol, template.mode)
        and template.spi in (None, sa.spi)
        and sa.destination == packet.destination.ip
        and sa.source in (None, packet.source.ip)
        and sa.selector.covers(packet)
    ]


def packet(destination: IPAddress) -> Flow:
    return Flow.parse(str(destination), str(HERE), protocol=17, source_port=9, port=5000)


WIDE = data_sa(GROUPS, spi=0x1001)


@pytest.mark.requirement("CTR-3-02", "5374:CTR-3-02")
@pytest.mark.parametrize(
    ("sas", "demand"),
    [
        pytest.param((WIDE, data_sa(to(GROUPS, G1), spi=0x2001, transform=GCM)), (), id="no Sender-ID"),
        pytest.param(
            (WIDE, data_sa(NARROW, spi=0x2001, transform=GCM)), (Demand(None, G1), Demand(None, G2)), id="copies"
        ),
        pytest.param(
            (WIDE, data_sa(to(GROUPS, G1), spi=0x2001, direction=Direction.RECEIVER_ONLY)), (), id="receiver-only"
        ),
        pytest.param(
            (WIDE, data_sa(NARROW, spi=0x2001, direction=Direction.RECEIVER_ONLY)),
            (Demand(None, G1), Demand(None, G2)),
            id="receiver-only copies",
        ),
    ],
)
def test_what_asks_for_an_sa_does_not_find_one_to_receive_on(sas: tuple[DataSA, ...], demand: Iterable[Demand]) -> None:
    result: Desired = desired(policy(GROUPS), *sas, demand=demand)
    assert 0x2001 in {sa.spi for sa in result.databases.sad}
    for destination in (G1, G2):
        assert 0x2001 not in {sa.spi for sa in found_by_the_kernel(result.databases, packet(destination))}
