"""One call to a teacher with patience: quota waits cost no attempt, passing faults are retried, others are not."""

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from distill.limiter import Limiter
from distill.teachers.faults import DeniedError, RateLimitedError, TeacherError, TransientError

Given = TypeVar("Given")


@dataclass(frozen=True)
class Patience:
    """How often and how long a call is tried again."""

    attempts: int = 5
    """Tries of a call that fails in a way that may pass."""
    first_wait: float = 1.0
    """Seconds before the second try, jittered; each further wait doubles."""
    longest_wait: float = 60.0
    """No wait between tries is longer, in seconds."""
    quota_seconds: float = 1800.0
    """How long one call may be put off by 429 answers."""


class Circuit:
    """Opens after `most` failures without a success between them: then something is wrong with all of them."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._failures = 0

    def succeeded(self) -> None:
        """Say that a call got a reply."""
        self._failures = 0

    def failed(self, error: TeacherError) -> None:
        """Say that a call was given up; TeacherError where that was one too many."""
        self._failures += 1
        if self._failures >= self.most:
            raise TeacherError(
                f"{self._failures} calls in a row failed, the last with: {error}. What was answered is kept; "
                "set right what is wrong and run the same command with --retry_errors"
            )


class Caller:
    """Makes calls within a limiter. `made` counts requests, failed ones included."""

    def __init__(self, limiter: Limiter, patience: Patience) -> None:
        self.limiter, self.patience = limiter, patience
        self.made = 0
        self._denied: DeniedError | None = None

    async def __call__(self, call: Callable[[], Awaitable[Given]]) -> Given:
        """Return what `call` returns; raises its last fault when patience ends, a lasting fault at once."""
        import tenacity

        patience = self.patience
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(TransientError),
            stop=tenacity.stop_after_attempt(patience.attempts),
            wait=tenacity.wait_random_exponential(multiplier=patience.first_wait, max=patience.longest_wait),
            reraise=True,
        )
        return await retrying(self._within_quota, call)

    async def _within_quota(self, call: Callable[[], Awaitable[Given]]) -> Given:
        until = time.monotonic() + self.patience.quota_seconds
        for turn in itertools.count():
            try:
                return await self._once(call)
            except RateLimitedError as error:
                wait = max(error.retry_after or 0.0, self._backoff(turn))
                if time.monotonic() + wait > until:
                    seconds = self.patience.quota_seconds
                    raise TeacherError(f"given up, to wait longer than {seconds:g} s in all: {error}") from None
            await asyncio.sleep(wait)
        raise AssertionError("counting ends never")

    def _backoff(self, turn: int) -> float:
        longest = min(self.patience.longest_wait, self.patience.first_wait * 2.0 ** min(turn, 30))
        return random.uniform(longest / 2, longest)

    async def _once(self, call: Callable[[], Awaitable[Given]]) -> Given:
        async with self.limiter.slot():
            if self._denied is not None:  # the slot came free before the run was told to stop
                raise self._denied
            self.made += 1
            try:
                given = await call()
            except RateLimitedError as error:
                self.limiter.rate_limited(error.retry_after)
                raise
            except TransientError:
                self.limiter.stumbled()
                raise
            except DeniedError as error:
                self._denied = DeniedError(f"the teacher does not let this key in: {error}")
                raise self._denied from None
            self.limiter.succeeded()
            return given
