import asyncio

from agent.service.pump import Pump
from agent.wire.endpoint import Datagram
from tests.unit.service.support import HERE, THERE, FakeClock, FakeEngine


def test_a_datagram_is_fed_and_what_comes_of_it_is_told_and_sent() -> None:
    async def body() -> None:
        engine, sent, told = FakeEngine(), list[Datagram](), list[str]()
        Pump[str](engine, sent.append, told.append, FakeClock()).feed(b"ask", THERE, HERE)
        assert engine.received == [b"ask"]
        assert told == ["192.0.2.2:848 at 0"]
        assert sent == [Datagram(b"answer", THERE, HERE)]

    asyncio.run(body())


def test_what_an_events_handler_asks_of_the_engine_is_seen_in_the_same_turn() -> None:
    async def body() -> None:
        engine, sent = FakeEngine(), list[Datagram]()

        def handle(event: str) -> None:
            if event == "first":
                engine.told.append("second")
                pump.turn()
            else:
                engine.queue.append(Datagram(b"late", THERE, HERE))

        pump = Pump[str](engine, sent.append, handle, FakeClock())
        engine.told.append("first")
        pump.turn()
        assert [datagram.payload for datagram in sent] == [b"late"]

    asyncio.run(body())


def test_the_engine_fires_at_its_deadline_and_once() -> None:
    async def body() -> None:
        engine, clock, told = FakeEngine(), FakeClock(), list[str]()
        fired = asyncio.Event()

        def on_fire() -> None:
            engine.told.append("fired")
            fired.set()

        engine.on_fire = on_fire
        pump = Pump[str](engine, lambda _: None, told.append, clock)
        engine.wakes = 0.01
        pump.turn()
        engine.wakes = 0.02
        pump.turn()
        clock.now = 0.02
        await asyncio.wait_for(fired.wait(), 5)
        await asyncio.sleep(0.05)
        assert engine.fired == [0.02]
        assert told == ["fired"]

    asyncio.run(body())


def test_a_closed_pump_sends_its_farewell_and_is_quiet() -> None:
    async def body() -> None:
        engine, sent, told = FakeEngine(), list[Datagram](), list[str]()
        pump = Pump[str](engine, sent.append, told.append, FakeClock())
        engine.wakes = 0.0
        pump.turn()
        engine.queue.append(Datagram(b"delete", THERE, HERE))
        engine.told.append("closed")
        pump.close()
        pump.feed(b"late", THERE, HERE)
        pump.turn()
        await asyncio.sleep(0.01)
        assert [datagram.payload for datagram in sent] == [b"delete"]
        assert (told, engine.received, engine.fired) == ([], [], [])

    asyncio.run(body())


def test_datagrams_leave_before_events_are_handled_and_what_can_wait_comes_last() -> None:
    async def body() -> None:
        engine, order = FakeEngine(), list[str]()
        pump = Pump[str](
            engine,
            lambda datagram: order.append(f"sent {datagram.payload.decode()}"),
            lambda event: order.append(f"told {event}"),
            FakeClock(),
            lambda: order.append("prepared"),
        )
        pump.feed(b"ask", THERE, HERE)
        assert order == ["sent answer", "told 192.0.2.2:848 at 0", "prepared"]

    asyncio.run(body())
