"""From gckd's configuration file to what gckd works with: engine settings, credentials, group policies.

`read` is what a start, a reload and `gckctl check` all do with the file; `check` also looks for its folders.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from netaddr import IPAddress

from agent.config.certificates import KeyPair, certificates_of, crls_of, key_pair, trust_anchors, warnings_of
from agent.config.files import SOCKET_FOLDER_MODE, STORE_FOLDER_MODE, folder_missing
from agent.config.gcks import (
    AuthenticationTable,
    CertifiedTable,
    GroupTable,
    Iec61850Table,
    KekTable,
    KeyServerConfig,
    TekTable,
)
from agent.config.kek import LEAST_ACK_WAIT_S
from agent.config.loader import ConfigErrors, load
from agent.config.phase1 import LEAST_KEY_OCTETS, SHORT_KEY_WARNING
from agent.crypto.x509 import RevocationRule, TrustStore
from agent.errors import ConfigError, NotAuthenticated
from agent.gcks.certified import CertificateRule
from agent.gcks.delivery import HierarchyPolicy, RekeyDelivery
from agent.gcks.kek import KekPolicy, signing_key_of_pem, verify_key_of
from agent.gcks.lkh import too_many
from agent.gcks.policy import GroupPolicy, IecPolicy, TekPolicy
from agent.gcks.roster import Roster, read_roster
from agent.gcks.schedule import Renewal
from agent.gcks.strength import strength_warnings
from agent.gdoi.isakmp.credentials import OwnCertificate, PeerKey, StaticCredentials
from agent.gdoi.isakmp.phase1_state import PhaseOneSA, SendCertificates
from agent.gdoi.isakmp.policy import DEFAULT_SUITES
from agent.gdoi.settings import KeyServerSettings
from agent.gdoi.tolerances import Tolerances
from agent.gsa.identity import GroupId, Identity
from agent.gsa.rekey import KEK_CIPHERS, REKEY_SIGNATURES
from agent.gsa.sa import SecurityProtocol

__all__ = ["CurrentCredentials", "Setup", "check", "read"]

Value = TypeVar("Value")

_SOON: Final = 4
"""A quarter of a lead after a TEK was made, members that know nothing of it begin to register again."""
_MOST_NAMED: Final = 5
"""Members that one warning names; a file of members may have very many."""


@dataclass(frozen=True, slots=True)
class Setup:
    """A configuration, ready to serve. `names`: the members' by identity, for people; `warnings`: for them, too."""

    config: KeyServerConfig
    settings: KeyServerSettings
    credentials: StaticCredentials
    groups: Mapping[GroupId, GroupPolicy]
    names: Mapping[Identity, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


class CurrentCredentials:
    """The credentials of the latest setup, for an engine that outlives reloads."""

    def __init__(self, held: StaticCredentials) -> None:
        self.held = held

    def adopt(self, fresh: StaticCredentials, utc: datetime) -> Callable[[PhaseOneSA], bool]:
        """Use these from now on. What comes back tells of an SA made before whether it could be made no more."""
        before, self.held = self.held, fresh
        return lambda sa: not _proves(fresh, before, sa, utc)

    def pre_shared_key(self, peer: IPAddress) -> PeerKey | None:
        """The key configured for that address."""
        return self.held.pre_shared_key(peer)

    def certificate(self) -> OwnCertificate | None:
        """The certificate configured."""
        return self.held.certificate()

    def pre_shared_key_of(self, identity: Identity) -> PeerKey | None:
        """The key configured for that identity."""
        return self.held.pre_shared_key_of(identity)

    def trust(self) -> TrustStore:
        """The anchors configured, with what goes with them."""
        return self.held.trust()


def _proves(fresh: StaticCredentials, before: StaticCredentials, sa: PhaseOneSA, utc: datetime) -> bool:
    """Whether a member would prove itself as it did: its key is what it was, its certificate is trusted still.

    Of a chain the member's own certificate alone is kept, so with other intermediates than known ones it starts anew.
    """
    if sa.certificate is None:
        key = fresh.pre_shared_key_of(sa.identity)
        return key is not None and key == before.pre_shared_key_of(sa.identity)
    if _trusted(fresh) == _trusted(before):
        return True
    try:
        fresh.trust().verify([sa.certificate], utc)
    except NotAuthenticated:
        return False
    return True


def _trusted(held: StaticCredentials) -> tuple[object, ...]:
    return held.anchors, held.known, held.crls, held.revocation


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
    roster, found = read_roster(path, config, path.stat().st_uid)
    faults.found.extend(found)
    pair = _pair(config.authentication, faults)
    credentials = _credentials(config.authentication, roster, pair, faults)
    groups = [_group(index, table, roster, faults) for index, table in enumerate(config.groups)]
    settings = faults.ask("[authentication]", partial(_settings, config))
    for index, group in enumerate(groups):
        faults.ask(f"[groups[{index}].kek].signature_key", partial(_require_own_pair, group.kek, pair))
    faults.end()
    if settings is None:  # a fault was told then
        raise ConfigErrors(f"{path} has faults", faults.found)
    return Setup(
        config=config,
        settings=settings,
        credentials=credentials,
        groups={group.group: group for group in groups},
        names=roster.names,
        warnings=(*_warnings(config, pair), *strength_warnings(config), *_short_keys(roster)),
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


def _settings(config: KeyServerConfig) -> KeyServerSettings:
    table, gckd = config.authentication, config.gckd
    return KeyServerSettings(
        identity=config.identity.identity,
        suites=table.phase1 or DEFAULT_SUITES,
        maximum_lifetime_s=table.phase1_lifetime_s,
        maximum_lifetime_kb=table.phase1_lifetime_kb,
        idle_s=table.phase1_idle_s,
        aggressive=table.aggressive,
        certificates=SendCertificates(table.send_certificates),
        ecdsa_over_hash=table.ecdsa_over_hash,
        match_address=table.match_address,
        natt_port=gckd.nat_traversal_port if gckd.nat_traversal else None,
        fragmentation=table.fragmentation,
        fragment_octets=table.fragment_octets,
        tolerances=Tolerances.of(**config.tolerances.model_dump()),
    )


def _pair(table: AuthenticationTable, faults: _Faults) -> KeyPair | None:
    if table.certificate is None or table.private_key is None:
        return None
    return faults.ask("[authentication].private_key", partial(key_pair, table.certificate, table.private_key))


def _credentials(
    table: AuthenticationTable, roster: Roster, pair: KeyPair | None, faults: _Faults
) -> StaticCredentials:
    own = None if pair is None else OwnCertificate(pair.chain, pair.signer)
    anchors = known = crls = None
    if table.trust_anchors is not None:
        anchors = faults.ask("[authentication].trust_anchors", partial(trust_anchors, table.trust_anchors))
        crls = faults.ask("[authentication].crls", partial(crls_of, table.crls))
    if table.intermediates is not None:
        known = faults.ask("[authentication].intermediates", partial(certificates_of, table.intermediates))
    credentials = StaticCredentials(
        roster.keys,
        own,
        anchors or (),
        identity_keys=roster.identity_keys,
        known=known or (),
        crls=crls or (),
        revocation=RevocationRule(table.revocation),
    )
    faults.ask("[authentication].trust_anchors", credentials.trust)
    return credentials


def _warnings(config: KeyServerConfig, pair: KeyPair | None) -> Iterator[str]:
    yield from (f"[authentication]: {text}" for text in config.authentication.phase_one_warnings())
    if pair is not None:
        yield from (f"[authentication].certificate: {text}" for text in warnings_of(pair, datetime.now(UTC)))
    for index, group in enumerate(config.groups):
        for number, tek in enumerate(group.teks):
            if tek.transform.deprecated:
                yield f"[groups[{index}].teks[{number}]].transform: {tek.transform} is weak, for old peers only"
        for number, iec in enumerate(group.iec61850):
            if not iec.transform.authenticates:
                yield f"[groups[{index}].iec61850[{number}]].transform: {iec.transform} protects nothing"
        if group.kek is not None:
            yield from _kek_warnings(f"[groups[{index}].kek]", group, group.kek)
        if group.allow_shared_counter_mode:
            yield f"[groups[{index}]].allow_shared_counter_mode: nonces of several senders may meet, which reveals data"


def _short_keys(roster: Roster) -> Iterator[str]:
    names = [roster.names[each] for each, key in roster.identity_keys.items() if len(key.key) < LEAST_KEY_OCTETS]
    if names:
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        yield f"members {', '.join(names[:_MOST_NAMED])}{more}: {SHORT_KEY_WARNING}"


def _group(index: int, table: GroupTable, roster: Roster, faults: _Faults) -> GroupPolicy:
    here = f"groups[{index}]"
    teks = [
        faults.ask(f"[{here}.teks[{number}]]", partial(_tek, tek, table.sender_id_bits))
        for number, tek in enumerate(table.teks)
    ]
    iecs = [
        faults.ask(f"[{here}.iec61850[{number}]]", partial(_iec61850, iec, table.sender_id_bits))
        for number, iec in enumerate(table.iec61850)
    ]
    rules = [
        faults.ask(f"[{here}.certified[{number}]]", partial(_rule, rule)) for number, rule in enumerate(table.certified)
    ]
    kek = table.kek
    policy = GroupPolicy(
        group=table.id,
        name=table.name,
        teks=tuple(policy for policy in (*teks, *iecs) if policy is not None),
        members=roster.roles.get(table.id, {}),
        rules=tuple(rule for rule in rules if rule is not None),
        sender_id_bits=table.sender_id_bits,
        kek=None if kek is None else faults.ask(f"[{here}.kek]", partial(_kek, kek)),
    )
    if len(policy.teks) == len(teks) + len(iecs) and policy.kek is not None:
        faults.ask(f"[{here}.kek]", partial(_require_time_for_copies, policy))
    if policy.kek is not None and policy.kek.hierarchy is not None:
        faults.ask(
            f"[{here}.kek.lkh].degree", partial(_require_leaves, policy.kek.hierarchy.degree, len(policy.members))
        )
    if not table.allow_shared_counter_mode:
        for number, tek in enumerate(table.teks):
            faults.ask(f"[{here}.teks[{number}]].transform", partial(_require_own_nonces, policy, tek))
    return policy


def _require_own_pair(kek: KekPolicy | None, pair: KeyPair | None) -> None:
    """A pair that signs both would let a signature of the one exchange be shown in the other (RFC 6407 4.1)."""
    if kek is None or kek.signing_key is None or pair is None:
        return
    if verify_key_of(kek.signing_key.reveal()) == pair.signer.public_key:
        raise ValueError(
            "is the key of [authentication].private_key, which members know this host by (RFC 6407 4.1): name another "
            "key, or none to have one made"
        )


def _require_leaves(degree: int, members: int) -> None:
    text = too_many(degree, members)
    if text is not None:
        raise ValueError(text)


def _require_own_nonces(policy: GroupPolicy, table: TekTable) -> None:
    """What the schema asks of the members that it sees, of all of them."""
    if table.transform.counter_mode and not table.flow.flow.single_source and policy.senders > 1:
        raise ValueError(
            f"{table.transform} is a counter mode and {policy.senders} members or more may send, see gckd.toml(5):"
            " take an aes-cbc transform, one TEK for each source, or set allow_shared_counter_mode = true"
        )


def _rule(table: CertifiedTable) -> CertificateRule:
    return CertificateRule.parse(
        table.role,
        subject=table.subject,
        issuer=table.issuer,
        dns=table.dns,
        email=table.email,
        network=table.network,
    )


def _tek(table: TekTable, sender_id_bits: int) -> TekPolicy:
    return TekPolicy(
        flow=table.flow.flow,
        transform=table.transform,
        renewal=Renewal.of(table.lifetime_s, lead_s=table.renewal_lead_s, activation_s=table.activation_delay_s),
        mode=table.mode,
        protocol=SecurityProtocol.of(table.transform),
        address_preservation=table.address_preservation,
        sender_id_bits=sender_id_bits,
    )


def _iec61850(table: Iec61850Table, sender_id_bits: int) -> IecPolicy:
    return IecPolicy(
        selector=table.oid,
        transform=table.transform,
        renewal=Renewal.of(table.lifetime_s, lead_s=table.renewal_lead_s, activation_s=table.activation_delay_s),
        key_delivery_assurance=table.key_delivery_assurance,
        sender_id_bits=sender_id_bits,
    )


def _kek(table: KekTable) -> KekPolicy:
    signature, file, lkh = REKEY_SIGNATURES[table.signature], table.signature_key, table.lkh
    try:
        signing_key = None if file is None else signing_key_of_pem(file.content.reveal(), signature)
    except ValueError as error:
        raise ValueError(f"signature_key {file.path if file else ''} {error}") from None
    return KekPolicy(
        cipher=table.cipher,
        signature=signature,
        renewal=Renewal.of(table.lifetime_s),
        source=table.source,
        destination=table.destination,
        port=table.port,
        acknowledgement=table.acknowledgement,
        signing_key=signing_key,
        delivery=RekeyDelivery(
            hops=table.ttl,
            interface=table.interface,
            copies=table.copies,
            pause_s=table.copy_pause_s,
            fresh_sequence=table.copies_sequence == "new",
            ack_wait_s=table.ack_wait_s,
            largest_octets=table.largest_octets,
        ),
        hierarchy=None if lkh is None else HierarchyPolicy(lkh.degree, lkh.backward_secrecy, lkh.batch_s),
    )


def _require_time_for_copies(policy: GroupPolicy) -> None:
    """A member that hears the last copy of a rekey alone must be ready by the earliest switch of the senders."""
    if policy.kek is None:
        return
    lasts_s = policy.kek.delivery.lasts_s
    lead_s = min(line.renewal.lead_s for line in (*policy.teks, policy.kek))
    if lasts_s >= lead_s:
        raise ValueError(
            f"copies, copy_pause_s: the last copy of a rekey leaves after {lasts_s:g} s, but keys are renewed with a "
            f"lead of {lead_s:g} s: take fewer copies, a shorter pause, or a longer lifetime_s"
        )


def _kek_warnings(place: str, group: GroupTable, kek: KekTable) -> Iterator[str]:
    if KEK_CIPHERS[kek.cipher].deprecated:
        yield f"{place}.cipher: {kek.cipher} is weak, for old peers only"
    if REKEY_SIGNATURES[kek.signature].deprecated:
        yield f"{place}.signature: {kek.signature} is weak, for old peers only"
    if kek.ack_wait_s < LEAST_ACK_WAIT_S:
        yield (
            f"{place}.ack_wait_s: members may take 5 s to answer, so {kek.ack_wait_s:g} s is short: "
            f"{LEAST_ACK_WAIT_S:g} s or more (RFC 8263 6)"
        )
    if kek.copies == 1 and kek.acknowledgement is None:
        yield f"{place}.copies: a rekey that is lost once is lost: members that miss it register again"
    for number, tek in enumerate(group.teks):
        lead_s = Renewal.of(tek.lifetime_s, lead_s=tek.renewal_lead_s).lead_s
        if kek.copies_last_s > lead_s / _SOON:
            yield (
                f"{place}.copy_pause_s: members of teks[{number}] may register again {lead_s / _SOON:g} s after a TEK "
                f"was made, but the last copy of its rekey leaves after {kek.copies_last_s:g} s"
            )
