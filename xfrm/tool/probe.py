"""`probe`: what this kernel can do."""

from __future__ import annotations

from collections.abc import Iterator

import click

from xfrm.capabilities import AlgorithmKind, AlgorithmSupport, Feature, KernelCapabilities
from xfrm.probing import probe as find
from xfrm.tool.jsonable import document
from xfrm.tool.options import json_option, netns_option
from xfrm.tool.words import printable

__all__ = ["probe", "probe_lines"]


@click.command()
@click.option(
    "--in-place",
    is_flag=True,
    help="Try in the SAD of this namespace, where it cannot be done in one of its own: SAs to documentation addresses"
    " (192.0.2.2, 2001:db8::2) go in and out again.",
)
@json_option
@netns_option
def probe(in_place: bool, as_json: bool, netns: str | None) -> None:
    """Show what this kernel can do: transforms with their algorithms, modes, features, offload.

    It is tried, in a network namespace of its own; so it takes seconds the first time, while the kernel loads modules.
    Without root it is tried in a user namespace, where the system allows that. --netns: where to look for devices that
    offload.
    """
    found = find(in_place=in_place, netns=netns)
    if as_json:
        click.echo(document(found.to_json()))
    else:
        for text in probe_lines(found):
            click.echo(text)


def probe_lines(found: KernelCapabilities) -> Iterator[str]:
    """What was found, as text."""
    shown = found.to_json()
    yield f"{click.style('Kernel', bold=True)} {printable(found.release)}"
    for label, key in (("Transforms", "protocols"), ("Modes of ESP", "modes")):
        parts = [f"{name} {_versions(versions)}" for name, versions in shown[key].items()]
        yield f"{click.style(label, bold=True)}: {', '.join(parts)}"
    window = f"up to {found.replay_window_packets} packets" if found.replay_window_packets else "not tried without ESP"
    yield f"{click.style('Replay window', bold=True)}: {window}"
    for kind in AlgorithmKind:
        yield click.style(f"Algorithms, {kind.value}", bold=True)
        for algorithm in found.algorithms:
            if algorithm.kind is kind:
                yield f"    {_algorithm(algorithm)}"
    yield click.style("Features", bold=True)
    for feature in Feature:
        has = "unknown, not tried" if feature in found.untried else "yes" if feature in found.features else "no"
        yield f"    {feature.value}: {has}"
    devices = ", ".join(printable(name) for name in found.offload_devices)
    yield f"{click.style('Devices that offload ESP', bold=True)}: {devices or 'none'}"


def _versions(versions: list[str]) -> str:
    return " and ".join(version.replace("ipv", "IPv") for version in versions) or "no"


def _algorithm(found: AlgorithmSupport) -> str:
    if not found.ok:
        return f"{found.name}: no ({printable(found.refusal)})"
    keys = "no key" if found.key_bits == (0,) else f"keys of {_either(found.key_bits)} bits"
    icv = f", ICVs of {_either(found.icv_bits)} bits" if any(found.icv_bits) else ""
    driver = f" ({printable(found.driver)})" if found.driver else ""
    return f"{found.name}: {keys}{icv}{driver}"


def _either(lengths: tuple[int, ...]) -> str:
    return ", ".join(str(length) for length in lengths)
