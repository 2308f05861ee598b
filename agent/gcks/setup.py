"""From gckd's configuration file to what gckd works with: engine settings, credentials, group policies.

`read` is what a start, a reload and `gckctl check` all do with the file; `check` also looks for its folders.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from netaddr import IPAddress

from agent.config.certificates import key_pair, trust_anchors
from agent.config.files import SOCKET_FOLDER_MODE, STORE_FOLDER_MODE, folder_missing
from agent.config.gcks import AuthenticationTable, GroupTable, KeyServerConfig, TekTable
from agent.config.loader import ConfigErrors, load
from agent.errors import ConfigError
from agent.gcks.policy import GroupPolicy, TekPolicy
from agent.gcks.schedule import Renewal
from agent.gdoi.isakmp.credentials import OwnCertificate, PeerKey, StaticCredentials
from agent.gdoi.isakmp.policy import DEFAULT_SUITES, Suite
from agent.gdoi.settings import KeyServerSettings
from agent.gsa.identity import GroupId, Identity

__all__ = ["CurrentCredentials", "Setup", "check", "read"]

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Setup:
    """A configuration, ready to serve. `names`: the members' names by identity, for people."""

    config: KeyServerConfig
    settings: KeyServerSettings
    credentials: StaticCredentials
    groups: Mapping[GroupId, GroupPolicy]
    names: Mapping[Identity, str] = field(default_factory=dict)


class CurrentCredentials:
    """The credentials of the latest setup, for an engine that outlives reloads."""

    def __init__(self, held: StaticCredentials) -> None:
        self.held = held

    def pre_shared_key(self, peer: IPAddress) -> PeerKey | None:
        """The key configured for that address."""
        return self.held.pre_shared_key(peer)

    def certificate(self) -> OwnCertificate | None:
        """The certificate configured."""
        return self.held.certificate()

    def trust_anchors(self) -> Sequence[bytes]:
        """The anchors configured."""
        return self.held.trust_anchors()


class _Faults:
    """Collects what is wrong, so that all of it is told at once."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self.found: list[ConfigError] = []

    def ask(self, key: str, call: Callable[[], Value]) -> Value | None:
        """What `call` gives, or None and a fault of that key."""
        try:
            return call()
        except ValueError as error:
            self.found.append(ConfigError(self._path, key, str(error)))
            return None

    def end(self) -> None:
        """Raise ConfigErrors with everything found, if anything was."""
        if self.found:
            raise ConfigErrors(f"{self._path} has {len(self.found)} faults", self.found)


def read(path: Path) -> Setup:
    """Read a configuration with all files it names. Raises ConfigErrors with every fault."""
    config = load(path, KeyServerConfig)
    faults = _Faults(path)
    own, anchors = _certificate(config.authentication, faults)
    identities = {member.name: member.identity.identity for member in config.members}
    groups = [_group(index, table, identities, faults) for index, table in enumerate(config.groups)]
    faults.end()
    keys = {
        member.address: PeerKey(member.psk_file.content, frozenset({identities[member.name]}))
        for member in config.members
        if member.address is not None and member.psk_file is not None
    }
    suites = tuple(Suite.parse(str(suite)) for suite in config.authentication.phase1) or DEFAULT_SUITES
    return Setup(
        config=config,
        settings=KeyServerSettings(identity=config.identity.identity, suites=suites),
        credentials=StaticCredentials(keys, own, anchors),
        groups={group.group: group for group in groups},
        names={identity: name for name, identity in identities.items()},
    )


def check(path: Path) -> Setup:
    """Read a configuration and look for the folders that it names itself; systemd makes the others at a start.

    Raises ConfigErrors with every fault.
    """
    setup = read(path)
    table = setup.config.gckd
    modes = {"control_socket": SOCKET_FOLDER_MODE, "store": STORE_FOLDER_MODE}
    missing = {key: folder_missing(getattr(table, key), mode) for key, mode in modes.items()}
    faults = [
        ConfigError(str(path), f"[gckd].{key}", message, exit_status=os.EX_CANTCREAT)
        for key, message in missing.items()
        if message is not None and key in table.model_fields_set
    ]
    if faults:
        raise ConfigErrors(f"{path} does not fit this host", faults)
    return setup


def _certificate(table: AuthenticationTable, faults: _Faults) -> tuple[OwnCertificate | None, tuple[bytes, ...]]:
    if table.certificate is None or table.private_key is None or table.trust_anchors is None:
        return None, ()
    pair = faults.ask("[authentication].private_key", partial(key_pair, table.certificate, table.private_key))
    anchors = faults.ask("[authentication].trust_anchors", partial(trust_anchors, table.trust_anchors))
    own = None if pair is None else OwnCertificate(pair.chain, pair.signer)
    return own, anchors or ()


def _group(index: int, table: GroupTable, identities: Mapping[str, Identity], faults: _Faults) -> GroupPolicy:
    policies = [
        faults.ask(f"[groups[{index}].teks[{number}]]", partial(_tek, tek)) for number, tek in enumerate(table.teks)
    ]
    return GroupPolicy(
        group=table.id,
        name=table.name,
        teks=tuple(policy for policy in policies if policy is not None),
        members={identities[member.name]: member.role for member in table.members},
    )


def _tek(table: TekTable) -> TekPolicy:
    return TekPolicy(
        flow=table.flow.flow,
        transform=table.transform,
        renewal=Renewal.of(table.lifetime_s, lead_s=table.renewal_lead_s, activation_s=table.activation_delay_s),
        mode=table.mode,
        address_preservation=table.address_preservation,
    )
