"""The keys of Phase 1 that both daemons' files have (RFC 2409, RFC 3706, RFC 3947, RFC 4945), and what they warn of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import Field, PlainValidator, ValidationInfo

from agent.config.files import PublicFile, read_listing
from agent.config.types import Phase1SuiteName, PublicKeyFile, Seconds, SecretKeyFile, Table, path_of

__all__ = ["AGGRESSIVE_WARNING", "LEAST_KEY_OCTETS", "SHORT_KEY_WARNING", "CrlFile", "Kilobytes", "PhaseOneTable"]

Kilobytes = Annotated[int, Field(strict=True, ge=1, le=2**32 - 1)]
"""A volume in kilobytes."""


def _crl(text: object, info: ValidationInfo) -> PublicFile:
    path = path_of(text, info)
    return PublicFile(path, read_listing(path, None, lambda _: False))


CrlFile = Annotated[PublicFile, PlainValidator(_crl)]
"""A file of certificate revocation lists, PEM or DER, read and held; such files may be long."""

AGGRESSIVE_WARNING: Final = (
    "aggressive = true: both identities go in clear, and with a pre-shared key whoever sees one exchange can try"
    " passwords on it at leisure: use it only where a peer knows nothing else, and with keys from a random generator"
)

LEAST_KEY_OCTETS: Final = 16
"""A pre-shared key shorter than this is hardly one of chance."""
SHORT_KEY_WARNING: Final = (
    f"a pre-shared key of fewer than {LEAST_KEY_OCTETS} octets can be guessed: take one from a random generator, as"
    " openssl rand -hex 32 does"
)


class PhaseOneTable(Table):
    """How Phase 1 authenticates and what it may be made of.

    `certificate`, `private_key`, `trust_anchors` (PEM) go together. `intermediates`: certificates that peers need not
    send; `crls`: revocation lists, and `revocation`: whether one that is missing or too old is a refusal (`hard`) or
    not (`soft`). `send_certificates`: `always`, `when-asked` or `never`. `phase1`: suites, the preferred one first;
    none named: ours. `aggressive`: Aggressive Mode. `ecdsa_over_hash`: sign SHA-2(HASH), as some peers want, where
    others want HASH itself as the digest. `match_address`: an identity that is an address and proven by a certificate
    must be where its datagrams come from. `fragmentation`: of IKE messages, with peers that announce it;
    `fragment_octets`: the largest IP packet then. `phase1_lifetime_s`, `phase1_lifetime_kb`: of a Phase 1 SA.
    """

    certificate: PublicKeyFile | None = None
    private_key: SecretKeyFile | None = None
    trust_anchors: PublicKeyFile | None = None
    intermediates: PublicKeyFile | None = None
    crls: tuple[CrlFile, ...] = ()
    revocation: Literal["hard", "soft"] = "hard"
    send_certificates: Literal["always", "when-asked", "never"] = "always"
    phase1: tuple[Phase1SuiteName, ...] = ()
    aggressive: Annotated[bool, Field(strict=True)] = False
    ecdsa_over_hash: Annotated[bool, Field(strict=True)] = False
    match_address: Annotated[bool, Field(strict=True)] = True
    fragmentation: Annotated[bool, Field(strict=True)] = True
    fragment_octets: Annotated[int, Field(strict=True, ge=576, le=65_535)] = 1280
    phase1_lifetime_s: Seconds = 86_400
    phase1_lifetime_kb: Kilobytes | None = None

    def phase_one_warnings(self) -> Iterator[str]:
        """What is weak about what is configured, one sentence each."""
        for suite in self.phase1:
            if suite.weaknesses:
                yield f"phase1 suite {suite} is weak: {'; '.join(suite.weaknesses)}"
        if self.aggressive:
            yield AGGRESSIVE_WARNING
        if "revocation" in self.model_fields_set and not self.crls:
            yield "revocation is set, but no crls are named: nothing is asked about revocation"
        if self.revocation == "soft" and self.crls:
            yield 'revocation = "soft": a peer passes while no valid revocation list can be had'
