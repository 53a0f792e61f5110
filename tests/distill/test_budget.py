import asyncio

import pytest

from distill.budget import Budget, Prices
from reward.errors import InputError
from reward.teacher import Reply


def test_cost_is_dollars_per_million_tokens():
    prices = Prices(1.25, 10.0)
    assert prices.cost(Reply("answer", input_tokens=2000, output_tokens=100)) == pytest.approx(0.0035)
    assert prices.cost(Reply("answer", input_tokens=2000)) is None
    assert Prices(1.25).cost(Reply("answer", input_tokens=2000, output_tokens=100)) is None


def spend(budget, calls, cost):
    """Make calls at once; return how many were allowed and the most that ran together."""
    running = most = done = 0

    async def call():
        nonlocal running, most, done
        if not await budget.reserve():
            return
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        done += 1
        await budget.settle(cost)

    async def run():
        await asyncio.gather(*(call() for _ in range(calls)))

    asyncio.run(run())
    return done, most


def test_calls_in_flight_never_exceed_the_money():
    budget = Budget(1.0)
    done, most = spend(budget, 50, 0.15)
    assert done == 6
    assert budget.spent == pytest.approx(0.9)
    assert most <= 5


def test_earlier_spending_counts_and_without_a_limit_all_calls_run():
    assert spend(Budget(1.0, spent=0.8), 10, 0.15)[0] == 1
    assert spend(Budget(1.0, spent=1.0), 10, 0.15)[0] == 0
    assert spend(Budget(None), 10, 0.15) == (10, 10)


def test_failed_calls_are_free_and_unknown_costs_are_refused():
    async def run():
        budget = Budget(1.0)
        assert await budget.reserve()
        await budget.settle(None, failed=True)
        assert budget.spent == 0.0
        assert await budget.reserve()
        with pytest.raises(InputError, match="max_cost"):
            await budget.settle(None)

    asyncio.run(run())
