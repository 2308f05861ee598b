"""What a member may do in a group: send, receive or both (RFC 5374 1.2)."""

from __future__ import annotations

from enum import Enum

__all__ = ["Role"]


class Role(Enum):
    """Group Sender, Group Receiver or both; the value is its name in configuration files."""

    SENDER = "sender"
    RECEIVER = "receiver"
    BOTH = "both"

    @property
    def sends(self) -> bool:
        """Whether the member is a Group Sender (RFC 5374 1.2)."""
        return self is not Role.RECEIVER

    @property
    def receives(self) -> bool:
        """Whether the member is a Group Receiver (RFC 5374 1.2)."""
        return self is not Role.SENDER
