"""What the running kernel can do for us, found by asking it, in a network namespace that is gone afterwards."""

from __future__ import annotations

import subprocess

__all__ = ["missing_for_esp", "missing_for_xfrm"]

STATE = ["src", "192.0.2.1", "dst", "239.255.255.1", "proto", "esp", "spi", "0x1000", "mode", "transport"]
# A key for a namespace that lives for one command: no secret.
PROBES = {
    "AES-GCM": ["aead", "rfc4106(gcm(aes))", "0x" + "11" * 20, "128"],
    "AES-CBC with HMAC-SHA-256": [
        "enc",
        "cbc(aes)",
        "0x" + "11" * 16,
        "auth-trunc",
        "hmac(sha256)",
        "0x" + "11" * 32,
        "128",
    ],
}


def missing_for_xfrm() -> str:
    """Why NETLINK_XFRM cannot be used here, in words; empty if it can."""
    return _asked(["ip", "xfrm", "state", "list"])


def missing_for_esp() -> str:
    """Why ESP with our algorithms cannot be used here, in words; empty if it can."""
    for name, algorithm in PROBES.items():
        refusal = _asked(["ip", "xfrm", "state", "add", *STATE, *algorithm])
        if refusal:
            return f"no ESP with {name}: {refusal}"
    return ""


def _asked(command: list[str]) -> str:
    try:
        done = subprocess.run(["unshare", "--net", *command], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        return f"{error.filename} is not installed"
    if done.returncode == 0:
        return ""
    words = (done.stderr.strip().splitlines() or [f"{command[0]} ended with {done.returncode}"])[-1]
    return words.removeprefix("Error: ").removesuffix(".")
