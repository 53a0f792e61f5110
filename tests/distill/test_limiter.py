import asyncio

import pytest

from distill.limiter import Limiter


class Clock:
    def __init__(self):
        self.seconds = 100.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


def test_a_round_of_successes_adds_about_one_up_to_the_most(clock):
    limiter = Limiter(6, start=4, now=clock)
    for _ in range(4):
        limiter.succeeded()
    assert limiter.limit == pytest.approx(4.93, abs=0.02)  # 4 + 1/4 + 1/4.25 + 1/4.49 + 1/4.71
    for _ in range(50):
        limiter.succeeded()
    assert limiter.limit == 6.0


def test_a_429_takes_a_fifth_once_per_cool_down_and_stops_growth(clock):
    limiter = Limiter(10, start=10, cool_down=15, now=clock)
    limiter.rate_limited()
    limiter.rate_limited()
    assert limiter.limit == pytest.approx(8.0)
    limiter.succeeded()
    assert limiter.limit == pytest.approx(8.0)
    clock.seconds += 15
    limiter.succeeded()
    assert limiter.limit == pytest.approx(8.125)
    limiter.rate_limited()
    assert limiter.limit == pytest.approx(6.5)


def test_the_limit_never_falls_below_one(clock):
    limiter = Limiter(2, now=clock)
    for _ in range(20):
        limiter.rate_limited()
        clock.seconds += 20
    assert limiter.limit == 1.0


def test_a_server_error_stops_growth_and_takes_nothing(clock):
    limiter = Limiter(10, start=5, cool_down=15, now=clock)
    limiter.stumbled()
    limiter.succeeded()
    assert limiter.limit == 5.0
    clock.seconds += 15
    limiter.succeeded()
    assert limiter.limit == pytest.approx(5.2)


def test_no_more_calls_run_at_once_than_the_limit_allows():
    limiter, most, running = Limiter(3, start=3), 0, 0

    async def call():
        nonlocal most, running
        async with limiter.slot():
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.001)
            running -= 1

    async def calls():
        await asyncio.gather(*(call() for _ in range(30)))

    asyncio.run(calls())
    assert most == 3
    assert limiter.in_flight == 0


def test_no_call_starts_before_retry_after_is_over():
    limiter, started = Limiter(4), []

    async def call():
        async with limiter.slot():
            started.append(asyncio.get_running_loop().time())

    async def calls():
        limiter.rate_limited(0.2)
        now = asyncio.get_running_loop().time()
        await asyncio.gather(*(call() for _ in range(5)))
        return now

    now = asyncio.run(calls())
    assert min(started) - now >= 0.19
