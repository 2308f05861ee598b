"""The scenarios by name. Each is a short module with a `SCENARIO`; add it here."""

from __future__ import annotations

from scripts.lib.lab.scenarios import (
    address_preservation,
    any_to_any,
    beside_strongswan,
    evict,
    failover,
    first_light,
    lossy_rekey,
    many_members,
    migrate,
    never_clear,
    push_attack,
    rekey,
    renewal,
    service_models,
    ssm_same_spi,
)
from scripts.lib.lab.stage import Scenario

__all__ = ["SCENARIOS"]

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        first_light.SCENARIO,
        renewal.SCENARIO,
        many_members.SCENARIO,
        failover.SCENARIO,
        rekey.SCENARIO,
        rekey.SHORT,
        lossy_rekey.SCENARIO,
        lossy_rekey.SHORT,
        evict.SCENARIO,
        push_attack.SCENARIO,
        migrate.SCENARIO,
        never_clear.SCENARIO,
        never_clear.SHORT,
        service_models.SCENARIO,
        ssm_same_spi.SCENARIO,
        address_preservation.SCENARIO,
        any_to_any.SCENARIO,
        beside_strongswan.SCENARIO,
    )
}
