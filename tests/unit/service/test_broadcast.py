"""Events for subscribers: in order, bounded, keys for those alone that may have them."""

from __future__ import annotations

import asyncio

from agent.service.broadcast import Broadcast, Event, Subscription


async def taken(events: Subscription, count: int) -> list[Event]:
    return [await anext(events) for _ in range(count)]


def test_each_subscriber_gets_what_happens_from_then_on() -> None:
    async def body() -> None:
        source = Broadcast()
        first = source.subscribe()
        source.publish({"event": "one"})
        second = source.subscribe()
        source.publish({"event": "two"})
        assert await taken(first, 2) == [{"event": "one"}, {"event": "two"}]
        assert await taken(second, 1) == [{"event": "two"}]

    asyncio.run(body())


def test_the_private_form_is_made_for_those_alone_that_may_have_it() -> None:
    async def body() -> None:
        source, made = Broadcast(), 0

        def private() -> Event:
            nonlocal made
            made += 1
            return {"event": "sa", "key": "0x00"}

        public = source.subscribe()
        source.publish({"event": "sa"}, private)
        assert made == 0
        owner = source.subscribe(private=True)
        source.publish({"event": "sa"}, private)
        assert await taken(owner, 1) == [{"event": "sa", "key": "0x00"}]
        assert await taken(public, 2) == [{"event": "sa"}] * 2

    asyncio.run(body())


def test_a_slow_subscriber_is_told_how_much_it_missed() -> None:
    async def body() -> None:
        source = Broadcast()
        slow = source.subscribe()
        for number in range(300):
            source.publish({"event": "n", "number": number})
        got = await taken(slow, 257)
        assert [event["number"] for event in got[:256]] == list(range(256))
        assert got[256] == {"event": "missed", "count": 44}
        source.publish({"event": "later"})
        assert await taken(slow, 1) == [{"event": "later"}]

    asyncio.run(body())


def test_who_closed_is_told_nothing_more() -> None:
    async def body() -> None:
        source = Broadcast()
        subscription = source.subscribe()
        subscription.close()
        subscription.close()
        source.publish({"event": "one"})
        upcoming = asyncio.ensure_future(anext(subscription))
        await asyncio.sleep(0)
        assert not upcoming.done()
        upcoming.cancel()

    asyncio.run(body())


def test_subscriptions_with_keys_end_when_it_changes_who_may_have_them() -> None:
    async def body() -> None:
        source = Broadcast()
        owner, public = source.subscribe(private=True), source.subscribe()
        source.publish({"event": "sa"}, lambda: {"event": "sa", "key": "0x00"})
        source.end_private()
        source.publish({"event": "later"})
        assert [event async for event in owner] == [], "what waited is not handed out either"
        assert await taken(public, 2) == [{"event": "sa"}, {"event": "later"}]
        owner.close()

    asyncio.run(body())
