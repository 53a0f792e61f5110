"""Calls within limits, by hand."""

import asyncio

import pytest

from distill.calling import Caller, Patience
from distill.limiter import Limiter
from distill.teachers.faults import DeniedError


def test_a_call_that_waited_for_a_slot_is_not_made_once_the_key_is_refused():
    """The slot of the refused call comes free before the run is told to stop."""
    caller, made = Caller(Limiter(1), Patience()), []

    async def refused():
        made.append("refused")
        await asyncio.sleep(0.01)
        raise DeniedError("401")

    async def other():
        made.append("other")

    async def both():
        return await asyncio.gather(caller(refused), caller(other), return_exceptions=True)

    outcomes = asyncio.run(both())
    assert made == ["refused"]
    assert all(isinstance(outcome, DeniedError) for outcome in outcomes)
    with pytest.raises(DeniedError, match="does not let this key in"):
        raise outcomes[1]
