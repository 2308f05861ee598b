"""Retransmission: a back-off timer and a retry counter, then the end (RFC 2408 5.1 forbids a fixed interval).

The initiator of an exchange drives it. A responder keeps its latest reply and sends it again, byte for byte, when the
message it answered comes again; that costs no state and lets nobody amplify.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Retransmission", "RetryPolicy"]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`first_s` seconds to the first of `retries`, each later pause `factor` times longer up to `ceiling_s`.

    Raises ValueError for values that make no back-off.
    """

    first_s: float = 0.5
    factor: float = 2.0
    ceiling_s: float = 8.0
    retries: int = 5

    def __post_init__(self) -> None:
        if self.first_s <= 0 or self.factor <= 1 or self.ceiling_s < self.first_s or self.retries < 0:
            raise ValueError("a back-off starts above zero, grows, and ends")

    def pause_s(self, sent: int) -> float:
        """Seconds to wait after the `sent`-th sending, 1 for the first."""
        return min(self.first_s * self.factor ** (sent - 1), self.ceiling_s)


class Retransmission:
    """One message in flight. `deadline`: monotonic seconds of the next retry or of the end."""

    __slots__ = ("_policy", "_sent", "deadline", "payload")

    def __init__(self, payload: bytes, policy: RetryPolicy, now: float) -> None:
        self.payload = payload
        self._policy = policy
        self._sent = 1
        self.deadline = now + policy.pause_s(1)

    def due(self, now: float) -> bool:
        """Whether the deadline has come."""
        return now >= self.deadline

    def again(self, now: float) -> bytes | None:
        """The message to send once more, None when the retries are used up."""
        if self._sent > self._policy.retries:
            return None
        self._sent += 1
        self.deadline = now + self._policy.pause_s(self._sent)
        return self.payload
