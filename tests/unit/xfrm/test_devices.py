"""Devices: what ethtool says of them, and interfaces of kind `xfrm`."""

import errno
import socket
import struct

import pytest

from xfrm import devices

STRINGS = [b"tx-checksum-ipv4", *[b"filler-%d" % number for number in range(40)], b"esp-hw-offload", b"last"]


class Ethtool:
    """Answers as the kernel does: `active`, whether the feature is on; `refused`: an errno."""

    def __init__(self, *, active: bool = True, strings: list[bytes] = STRINGS, refused: int = 0) -> None:
        self.active, self.strings, self.refused = active, strings, refused

    def __call__(self, control: socket.socket, name: str, command: bytes) -> bytes:
        if self.refused:
            raise OSError(self.refused, "refused")
        number = struct.unpack_from("=I", command)[0]
        if number == 0x37:
            return struct.pack("=IIQI", number, 0, 1 << 4, len(self.strings))
        if number == 0x1B:
            assert struct.unpack_from("=II", command, 4) == (4, len(self.strings))
            return command[:12] + b"".join(text.ljust(32, b"\0") for text in self.strings)
        assert number == 0x3A
        blocks = [[0xFFFFFFFF, 0, 0, 0] for _ in range(struct.unpack_from("=I", command, 4)[0])]
        if self.active:
            word, bit = divmod(self.strings.index(b"esp-hw-offload"), 32)
            blocks[word][2] = 1 << bit
        return command[:8] + b"".join(struct.pack("=IIII", *block) for block in blocks)


@pytest.mark.parametrize(
    ("kernel", "found"),
    [
        (Ethtool(), True),
        (Ethtool(active=False), False),
        (Ethtool(strings=[b"other"], active=False), False),
        (Ethtool(refused=errno.EOPNOTSUPP), False),
        (Ethtool(refused=errno.ENODEV), False),
    ],
)
def test_a_device_offloads_where_the_feature_is_on(
    monkeypatch: pytest.MonkeyPatch, kernel: Ethtool, found: bool
) -> None:
    monkeypatch.setattr(devices, "_ethtool", kernel)
    monkeypatch.setattr(socket, "if_nameindex", lambda: [(7, "eth0")])
    assert devices.offload_devices() == (("eth0",) if found else ())


def test_another_error_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_ethtool", Ethtool(refused=errno.EIO))
    with pytest.raises(OSError, match="refused"):
        devices.offload_devices()


def test_this_machine_can_be_asked() -> None:
    assert "lo" not in devices.offload_devices()


def test_without_permission_the_kernels_errno_comes_back() -> None:
    assert devices.add_xfrm_interface("name-of-more-than-fifteen-octets", 1) in (
        errno.ERANGE,
        errno.EINVAL,
        errno.EPERM,
    )
