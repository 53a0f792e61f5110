"""What calls cost, and a limit on it that is kept also with many calls in flight."""

import asyncio
from dataclasses import dataclass

from reward.errors import InputError
from reward.teacher import Reply


@dataclass(frozen=True)
class Prices:
    """US dollars per million tokens; None where the user did not say."""

    input: float | None = None
    output: float | None = None

    @property
    def known(self) -> bool:
        """Whether a call's cost can be computed."""
        return self.input is not None and self.output is not None

    def cost(self, reply: Reply) -> float | None:
        """Return what a reply cost in dollars, None where prices or token counts are unknown."""
        if self.input is None or self.output is None or reply.input_tokens is None or reply.output_tokens is None:
            return None
        return (self.input * reply.input_tokens + self.output * reply.output_tokens) / 1e6


class Budget:
    """Lets a call start only if the dearest call seen, for all calls in flight, still fits into `most` dollars.

    Until the first cost is known one call runs at a time. `spent` begins with what earlier runs cost. Without `most`
    every call may start.
    """

    def __init__(self, most: float | None, spent: float = 0.0) -> None:
        self.most, self.spent = most, spent
        self._dearest: float | None = None
        self._reserved = 0
        self._changed = asyncio.Condition()

    async def reserve(self) -> bool:
        """Wait until a further call may start, and return True; False if the money is spent."""
        if self.most is None:
            return True
        async with self._changed:
            await self._changed.wait_for(lambda: not self._reserved or self._dearest is not None)
            if not self._fits():
                await self._changed.wait_for(lambda: self._fits() or not self._reserved)
            if not self._fits():
                return False
            self._reserved += 1
            return True

    def _fits(self) -> bool:
        assert self.most is not None
        if self._dearest is None:
            return self.spent < self.most
        return self.spent + (self._reserved + 1) * self._dearest <= self.most

    async def settle(self, cost: float | None, failed: bool = False) -> None:
        """Say what the call cost; a failed call counts as free. InputError if a limit is set and it is unknown."""
        if cost is not None:
            self.spent += cost
            self._dearest = max(self._dearest or 0.0, cost)
        if self.most is None:
            return
        async with self._changed:
            self._reserved -= 1
            self._changed.notify_all()
        if cost is None and not failed:
            raise InputError("the teacher does not say how many tokens a call took, so --max_cost cannot be kept")
