"""gmd hears the rekeys of a group as soon as it is registered: a real key server, a data path in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.clock import SystemClock, SystemEntropy
from agent.gcks.service import KeyServer
from agent.member.service import GmdService
from tests.kernel.datapath.lan import inside
from tests.kernel.member.wire import GROUPS, PORT, SERVERS, Wire, filtered, wire
from tests.unit.gcks.support import key_server_file, served_group
from tests.unit.member.support import FakeDataPath, configuration, group_table


class _DoneError(Exception):
    """Ends the TaskGroup of a test."""


@pytest.fixture
def plugged() -> Iterator[Wire]:
    with wire() as made:
        made.plug_in()
        yield made


def key_server(folder: Path, psk: str) -> KeyServer:
    """A gckd whose group has a Rekey SA to a group address, from its own."""
    folder.mkdir(mode=0o700)
    group = served_group(1234, "video", {"gm": "receiver"}, 'destination = "239.1.1.1"')
    group += f'[groups.kek]\nsource = "{SERVERS[4]}"\ndestination = "{GROUPS[4]}"\n'
    members = {"gm": ("10.9.0.2", psk)}
    return KeyServer(key_server_file(folder, 848, members, group, listen=(str(SERVERS[4]),)))


async def hears(wire: Wire, gmd: GmdService) -> bool:
    """Whether a datagram to the rekey's address reaches gmd, within two seconds."""
    ports = gmd._rekeys._ports
    before = ports.received
    for _ in range(20):
        wire.send_rekey(4)
        await asyncio.sleep(0.1)
        if ports.received > before:
            return True
    return False


@pytest.mark.parametrize("extra", ['rekey_interface = "gm0"', 'interface = "gm0"', ""], ids=["named", "own", "routed"])
def test_gmd_joins_where_the_rekey_sa_says_and_stays(plugged: Wire, tmp_path: Path, extra: str) -> None:
    path = configuration(tmp_path, groups=group_table(1234, "239.1.1.1", role="receiver", extra=extra), port=PORT)
    path.write_text(path.read_text().replace("127.0.0.1", str(SERVERS[4])))
    gckd = key_server(tmp_path / "ks", (tmp_path / "ks1.psk").read_text())
    gmd = GmdService(path, FakeDataPath(), SystemClock(), SystemEntropy(), chance=lambda: 0.0)

    async def registered() -> None:
        for _ in range(400):
            if gmd.summary().startswith("1 of 1"):
                return
            await asyncio.sleep(0.05)
        pytest.fail(gmd.summary())

    async def filters_again() -> bool:
        # The membership may be back before its source is, and lets datagrams through till then.
        for _ in range(400):
            if filtered(4):
                return True
            await asyncio.sleep(0.05)
        return False

    async def whole() -> None:
        async with asyncio.TaskGroup() as tasks:
            with inside(plugged.server):
                await gckd.start(tasks)
            try:
                await gmd.start(tasks)
                assert not filtered(4)
                await registered()
                assert filtered(4), "the source that the Rekey SA names is joined"
                assert await hears(plugged, gmd)
                plugged.take_down()
                plugged.bring_up()
                assert await hears(plugged, gmd)
                assert await filters_again()
                plugged.unplug()
                plugged.plug_in()
                assert await hears(plugged, gmd)
                assert await filters_again()
            finally:
                await gmd.stop()
                await gckd.stop()
            assert not filtered(4)
            raise _DoneError

    try:
        asyncio.run(whole())
    except* _DoneError:
        pass
