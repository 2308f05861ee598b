"""Events for subscribers of the control socket: each has a queue, bounded, and is told how many it missed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, Self, TypeAlias

__all__ = ["Broadcast", "Event", "Subscription"]

Event: TypeAlias = Mapping[str, Any]
"""A value of JSON's types, with its kind under `event`."""

_DEPTH: Final = 256


class Subscription:
    """One subscriber's events, in order; `async for`, until it is ended; then `close`."""

    def __init__(self, source: Broadcast, *, private: bool) -> None:
        self.private: Final = private
        self._source: Final = source
        self._events: deque[Event] = deque()
        self._missed = 0
        self._ended = False
        self._filled: Final = asyncio.Event()

    def put(self, event: Event) -> None:
        """Queue an event; when the queue is full it is counted instead."""
        if len(self._events) >= _DEPTH:
            self._missed += 1
        else:
            self._events.append(event)
        self._filled.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        await self._filled.wait()
        if self._ended:
            raise StopAsyncIteration
        event: Event = self._events.popleft() if self._events else {"event": "missed", "count": self._missed}
        if event["event"] == "missed":
            self._missed = 0
        if not self._events and not self._missed:
            self._filled.clear()
        return event

    def end(self) -> None:
        """Tell the subscriber nothing any more, not even what waits."""
        self._ended = True
        self._events.clear()
        self._filled.set()
        self.close()

    def close(self) -> None:
        """Be told nothing any more."""
        self._source.drop(self)


class Broadcast:
    """Where events go. Subscribers of the private kind get another form of an event, which holds keys."""

    def __init__(self) -> None:
        self._subscriptions: list[Subscription] = []

    def subscribe(self, *, private: bool = False) -> Subscription:
        """A new subscriber's events from now on."""
        subscription = Subscription(self, private=private)
        self._subscriptions.append(subscription)
        return subscription

    def publish(self, event: Event, private: Callable[[], Event] | None = None) -> None:
        """Tell all; `private` makes the form with keys, only when somebody may have it."""
        for subscription in self._subscriptions:
            subscription.put(private() if private is not None and subscription.private else event)

    def end_private(self) -> None:
        """End the subscriptions of the private kind: whoever may have keys still asks anew."""
        for subscription in [each for each in self._subscriptions if each.private]:
            subscription.end()

    def drop(self, subscription: Subscription) -> None:
        """Forget a subscriber; safe to call twice."""
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)
