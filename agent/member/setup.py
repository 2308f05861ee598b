"""From gmd.toml to what gmd runs with: credentials, GPAD entries and GSPD. `gmctl check` takes the same way."""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

from netaddr import IPAddress

from agent.config.certificates import certificates_of, crls_of, key_pair, trust_anchors, warnings_of
from agent.config.files import SOCKET_FOLDER_MODE, folder_missing
from agent.config.gpad import lifetimes
from agent.config.loader import ConfigErrors, load
from agent.config.member import GroupTable, KeyServerTable, MemberConfig, OnStop, Register
from agent.config.phase1 import LEAST_KEY_OCTETS, SHORT_KEY_WARNING
from agent.crypto.x509 import RevocationRule
from agent.datapath.port import Capabilities
from agent.errors import ConfigError
from agent.gdoi.isakmp.credentials import OwnCertificate, PeerKey, StaticCredentials
from agent.gdoi.isakmp.phase1_state import SendCertificates
from agent.gdoi.isakmp.policy import DEFAULT_SUITES
from agent.gdoi.retransmit import RetryPolicy
from agent.gdoi.settings import Keeping, MemberSettings
from agent.gdoi.tolerances import Tolerances
from agent.gsa.expansion import Demand
from agent.gsa.gpad import GpadEntry, PeerMethod
from agent.gsa.gspd import GroupPolicy, Gspd
from agent.gsa.identity import GroupId, Identity
from agent.gsa.rekey import KEK_CIPHERS, REKEY_SIGNATURES
from agent.gsa.reqids import reqids_of
from agent.member.addresses import host_addresses
from agent.member.joins import Membership, own_addresses
from agent.member.timing import Timing
from agent.wire.endpoint import Endpoint

__all__ = ["ServerSetup", "Setup", "look_around", "prepare"]


@dataclass(frozen=True, slots=True)
class ServerSetup:
    """One key server: where it is, who we are to it, how it proves itself, and what it may give.

    `table` and `own` are what makes two of them equal; the rest follows from them.
    """

    table: KeyServerTable
    own: Identity
    entry: GpadEntry
    credentials: StaticCredentials = field(compare=False, repr=False)

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens."""
        return Endpoint(self.table.address, self.table.port)

    @property
    def tolerances(self) -> Tolerances:
        """Where this key server differs from the RFC."""
        return Tolerances.of(**self.table.tolerances.model_dump())

    def settings(self, local: Endpoint, local_natt: Endpoint | None, keepalive_s: float) -> MemberSettings:
        """What a MemberEngine is set up with, sending from `local`, and behind a NAT from `local_natt`."""
        table = self.table
        return MemberSettings(
            key_server=self.endpoint,
            local=local,
            identity=self.own,
            suites=table.phase1 or DEFAULT_SUITES,
            lifetime_s=table.phase1_lifetime_s,
            lifetime_kb=table.phase1_lifetime_kb,
            idle_s=table.phase1_idle_s,
            retry=RetryPolicy(retries=table.retransmissions),
            keeping=Keeping(table.keep_phase1),
            dpd_idle_s=table.dpd_idle_s or None,
            aggressive=table.aggressive,
            aggressive_encrypted=table.aggressive_encrypted,
            certificates=SendCertificates(table.send_certificates),
            ecdsa_over_hash=table.ecdsa_over_hash,
            match_address=table.match_address,
            initial_contact=table.initial_contact,
            local_natt=local_natt,
            key_server_natt_port=table.nat_traversal_port,
            keepalive_s=keepalive_s,
            fragmentation=table.fragmentation,
            fragment_octets=table.fragment_octets,
            tolerances=self.tolerances,
        )


@dataclass(frozen=True, slots=True)
class Setup:
    """A whole configuration, ready to run with. `servers` by name; `warnings`: what is weak about it, for people."""

    path: Path
    config: MemberConfig
    servers: Mapping[str, ServerSetup]
    warnings: tuple[str, ...] = ()

    def gspd(
        self,
        demand: Mapping[GroupId, Collection[Demand]] = MappingProxyType({}),
        capabilities: Capabilities | None = None,
    ) -> Gspd:
        """The GSPD of the configured groups, with this host's addresses as they are now.

        `demand`: the destinations within ranges that are asked for; `capabilities`: of the data path, if known.
        """
        why_no_marks = None if capabilities is None else capabilities.why_no_marks
        policies = [_policy(table, self.config) for table in self.config.groups if table.flows]
        return Gspd(policies, demand, why_no_marks)

    def groups_by_reqid(self) -> Mapping[int, GroupId]:
        """Whose SAs and policies carry which reqid."""
        reqids = reqids_of([table.id for table in self.config.groups if table.flows])
        return {reqid: group for group, reqid in reqids.items()}

    def timing(self, table: GroupTable) -> Timing:
        """The waits of a group's registrations."""
        gmd = self.config.gmd
        return Timing(
            first_s=gmd.retry_first_s,
            most_s=gmd.retry_most_s,
            return_s=gmd.return_s or None,
            lead_s=table.renewal_lead_s,
        )

    def name_of(self, group: GroupId) -> str | None:
        """What a group is called here."""
        return next((table.name for table in self.config.groups if table.id == group), None)

    def gspd_of_blocks(self) -> Gspd:
        """What is to be blocked while no gmd runs."""
        return self._unheard([table for table in self.config.groups if table.flows])

    def gspd_after_stop(self, demand: Mapping[GroupId, Collection[Demand]] = MappingProxyType({})) -> Gspd:
        """What a clean stop leaves to be blocked, or kept as it is."""
        left = [table for table in self.config.groups if table.flows and table.on_stop is not OnStop.REMOVE]
        return self._unheard(left, demand)

    def kept_after_stop(self) -> frozenset[GroupId]:
        """The groups whose SAs stay when gmd stops."""
        return frozenset(table.id for table in self.config.groups if table.on_stop is OnStop.KEEP)

    def _unheard(
        self,
        tables: Sequence[GroupTable],
        demand: Mapping[GroupId, Collection[Demand]] = MappingProxyType({}),
    ) -> Gspd:
        """The GSPD while nobody would hear what asks for an SA."""
        return Gspd([replace(_policy(table, self.config), on_demand=False) for table in tables], demand)

    def memberships(self) -> tuple[Membership, ...]:
        """What is to be joined."""
        return tuple(membership for table in self.config.groups for membership in memberships_of(table))


def memberships_of(table: GroupTable) -> tuple[Membership, ...]:
    """What one group wants joined."""
    if not table.join or table.interface is None:
        return ()
    groups = (flow for flow in table.flows if flow.destination.is_multicast())
    return tuple(dict.fromkeys(Membership.of_flow(table.interface, flow) for flow in groups))


def prepare(path: Path) -> Setup:
    """Read, check and turn a file into a Setup. Raises ConfigErrors with every fault found."""
    config = load(path, MemberConfig)
    faults: list[ConfigError] = []
    servers: dict[str, ServerSetup] = {}
    own = config.identity.identity
    for index, table in enumerate(config.key_servers):
        try:
            servers[table.name] = ServerSetup(table, own, _gpad_entry(config, table), _credentials(table))
        except ValueError as error:
            faults.append(ConfigError(str(path), f"[key_servers[{index}]]", str(error)))
    if faults:
        raise ConfigErrors(f"{path} has faults", faults)
    return Setup(path, config, MappingProxyType(servers), tuple(_warnings(config)))


def _warnings(config: MemberConfig) -> Iterator[str]:
    for index, table in enumerate(config.key_servers):
        here = f"[key_servers[{index}]]"
        yield from (f"{here}: {text}" for text in table.phase_one_warnings())
        if table.certificate is not None and table.private_key is not None:
            pair = key_pair(table.certificate, table.private_key)
            yield from (f"{here}.certificate: {text}" for text in warnings_of(pair, datetime.now(UTC)))
        weak = [str(transform) for transform in table.transforms if transform.deprecated]
        weak += [name for name in table.rekey.ciphers if KEK_CIPHERS[name].deprecated]
        weak += [name for name in table.rekey.signatures if REKEY_SIGNATURES[name].deprecated]
        weak += [str(transform) for transform in table.iec61850_transforms if not transform.authenticates]
        if weak:
            yield f"{here}: weak, for old peers only: {', '.join(weak)}"
        if table.tolerances.rfc3547:
            yield f"{here}.tolerances: rfc3547 = true takes a peer of an outdated standard"
        if table.psk_file is not None and len(table.psk_file.content) < LEAST_KEY_OCTETS:
            yield f"{here}.psk_file: {SHORT_KEY_WARNING}"
    yield from _beyond_flows(config)
    for index, group in enumerate(config.groups):
        if group.clear.clear:
            yield f"[groups[{index}].clear]: group {group.id} is not closed: {group.clear.clear}"


def _beyond_flows(config: MemberConfig) -> Iterator[str]:
    """Traffic that no SA of a key server asked for it may protect whole."""
    for index, group in enumerate(config.groups):
        for table in map(config.key_server, group.key_servers):
            rules = config.gpad_flows(table)
            for number, flow in enumerate(group.flows):
                if not any(rule.covers(flow) for rule in rules):
                    place = "entries" if group.entries else f"traffic[{number}]"
                    yield (
                        f"[groups[{index}].{place}]: {flow} lies within none of the flows of key server"
                        f" {table.name}, so an SA for all of it would be refused"
                    )


def look_around(setup: Setup) -> None:
    """Look for what the file names and this host lacks now. Raises ConfigErrors with all of it.

    A start makes do without an interface, which may come later; without the socket's folder it fails.
    """
    path, gmd = str(setup.path), setup.config.gmd
    faults = []
    missing = (
        folder_missing(gmd.control_socket, SOCKET_FOLDER_MODE) if "control_socket" in gmd.model_fields_set else None
    )
    if missing is not None:
        faults.append(ConfigError(path, "[gmd].control_socket", missing, exit_status=os.EX_CANTCREAT))
    for index, table in enumerate(setup.config.groups):
        for key in ("interface", "rekey_interface"):
            name = getattr(table, key)
            if name is not None and not _is_there(name):
                message = f"there is no interface {name} now: name one that ip link shows, or wait for it"
                faults.append(ConfigError(path, f"[groups[{index}]].{key}", message))
    if faults:
        raise ConfigErrors(f"{path} does not fit this host", faults)


def _is_there(interface: str) -> bool:
    try:
        socket.if_nametoindex(interface)
    except OSError:
        return False
    return True


def _gpad_entry(config: MemberConfig, table: KeyServerTable) -> GpadEntry:
    return GpadEntry(
        name=table.name,
        identities=(table.identity.pad_id,),
        groups=frozenset(table.groups),
        flows=config.gpad_flows(table),
        transforms=frozenset(table.transforms),
        lifetimes=lifetimes(table.min_lifetime_s, table.max_lifetime_s),
        modes=frozenset(table.modes),
        methods=frozenset({table.method}),
        selectors=table.iec61850,
        iec61850=frozenset(table.iec61850_transforms),
        rekey=table.rekey.rules,
    )


def _credentials(table: KeyServerTable) -> StaticCredentials:
    if table.psk_file is not None:
        key = PeerKey(table.psk_file.content)
        return StaticCredentials({table.address: key})
    if table.certificate is None or table.private_key is None or table.trust_anchors is None:
        raise ValueError("neither a pre-shared key nor a certificate")  # the schema sees to it
    own = key_pair(table.certificate, table.private_key)
    kind = PeerMethod.of(own.signer.algorithm.value)
    if kind is not table.method:
        raise ValueError(f'{table.certificate.path} has a key for "{kind.value}", but method is "{table.method.value}"')
    credentials = StaticCredentials(
        own_certificate=OwnCertificate(own.chain, own.signer),
        anchors=trust_anchors(table.trust_anchors),
        known=certificates_of(table.intermediates) if table.intermediates is not None else (),
        crls=crls_of(table.crls),
        revocation=RevocationRule(table.revocation),
    )
    credentials.trust()  # asked for its error, now and not in the middle of Phase 1
    return credentials


def _policy(table: GroupTable, config: MemberConfig) -> GroupPolicy:
    addresses: tuple[IPAddress, ...] = own_addresses(table.interface, table.flows)
    if not all(flow.destination.is_multicast() for flow in table.flows):
        # Which of them a packet leaves from, its own route says.
        others = (address for address in sorted(host_addresses() or ()) if address not in addresses)
        addresses += tuple(address for address in others if not (address.is_loopback() or address.is_link_local()))
    return GroupPolicy(
        table.id,
        table.role,
        table.flows,
        addresses,
        replay_window=table.replay_window,
        resume=table.resume,
        esn_lifetime_s=table.esn_lifetime_s,
        on_demand=table.registers is not Register.ALWAYS,
        key_servers=tuple(
            (server.address, port) for server in config.key_servers for port in (server.port, server.nat_traversal_port)
        ),
        entries=table.gspd_entries,
        clear=table.clear.clear,
        interface=table.interface,
    )
