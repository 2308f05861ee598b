import asyncio

from agent.service.alarm import Alarm
from tests.unit.service.support import FakeClock


def test_it_rings_at_the_instant_set_last() -> None:
    async def body() -> list[float]:
        clock, rang = FakeClock(), list[float]()
        alarm = Alarm(clock, lambda: rang.append(clock.now))
        alarm.set(1000.0)
        alarm.set(-5.0)
        await asyncio.sleep(0.01)
        alarm.set(0.0)
        alarm.set(None)
        await asyncio.sleep(0.01)
        alarm.close()
        alarm.set(0.0)
        await asyncio.sleep(0.01)
        return rang

    assert asyncio.run(body()) == [0.0]
