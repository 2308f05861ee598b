from configparser import ConfigParser
from pathlib import Path

import pytest

UNITS = Path(__file__).resolve().parents[3] / "systemd"


class _Unit(ConfigParser):
    def optionxform(self, optionstr: str) -> str:
        return optionstr  # systemd's keys have case


def unit(name: str) -> ConfigParser:
    parser = _Unit(strict=True, interpolation=None)
    parser.read(UNITS / f"{name}.service")
    return parser


@pytest.mark.parametrize(("name", "capability"), [("gmd", "CAP_NET_ADMIN"), ("gckd", "CAP_NET_BIND_SERVICE")])
def test_a_daemon_has_its_one_capability_and_tells_when_it_is_ready(name: str, capability: str) -> None:
    service = unit(name)["Service"]
    assert service["AmbientCapabilities"] == service["CapabilityBoundingSet"] == capability
    assert service["NoNewPrivileges"] == "yes"
    assert service["User"] not in ("", "root")
    assert service["Type"] == "notify"
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert service["RuntimeDirectory"] == "mcastsec"


def test_groups_are_blocked_before_the_network_is_up() -> None:
    assert "network-pre.target" in unit("gmd")["Unit"]["Before"].split()
