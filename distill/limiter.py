"""How many calls to a teacher may run at once: more while all goes well, fewer when it asks for fewer."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

SHRINK = 0.8
COOL_DOWN = 15.0
START = 4


class Limiter:
    """Additive increase, multiplicative decrease (AIMD) over the number of calls in flight.

    Starts at `start` and never exceeds `most`. A full round of successes adds one. `rate_limited` takes a fifth away,
    once per cool-down of `cool_down` seconds or of the server's Retry-After, in which nothing grows; no call starts
    before Retry-After is over. `stumbled` (a server error) only stops growth for a cool-down.
    """

    def __init__(
        self,
        most: int,
        start: int = START,
        cool_down: float = COOL_DOWN,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.most, self.cool_down, self._now = most, cool_down, now
        self.limit = float(min(start, most))
        self.in_flight = 0
        self._no_growth_until = self._no_shrink_until = self._closed_until = -float("inf")
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for the right to make one call, and hold it."""
        await self._enter()
        try:
            yield
        finally:
            async with self._changed:
                self.in_flight -= 1
                self._changed.notify_all()

    async def _enter(self) -> None:
        while True:
            async with self._changed:
                wait = self._closed_until - self._now()
                if wait <= 0:
                    if self.in_flight < int(self.limit):
                        self.in_flight += 1
                        return
                    await self._changed.wait()
            if wait > 0:
                await asyncio.sleep(wait)

    def succeeded(self) -> None:
        """Say that a call went well."""
        if self._now() >= self._no_growth_until:
            self.limit = min(self.limit + 1 / self.limit, float(self.most))

    def rate_limited(self, retry_after: float | None = None) -> None:
        """Say that the server answered 429, and how many seconds it wants to be left alone."""
        now = self._now()
        if now >= self._no_shrink_until:
            self.limit = max(1.0, self.limit * SHRINK)
        cool = max(self.cool_down, retry_after or 0.0)
        self._no_growth_until = max(self._no_growth_until, now + cool)
        self._no_shrink_until = max(self._no_shrink_until, now + (retry_after or self.cool_down))
        self._closed_until = max(self._closed_until, now + (retry_after or 0.0))

    def stumbled(self) -> None:
        """Say that the server failed."""
        self._no_growth_until = max(self._no_growth_until, self._now() + self.cool_down)
