"""What can go wrong with a call to a teacher, sorted by what is to be done about it."""

import email.utils
import math
import time
from collections.abc import Mapping

from reward.errors import WorldcriticError


class TeacherError(WorldcriticError):
    """A call to a teacher failed."""


class RateLimitedError(TeacherError):
    """The teacher wants fewer calls (429). `retry_after` is its wish in seconds, None if it names none."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TransientError(TeacherError):
    """A fault that may pass: 408, 409, 5xx, a time-out, a broken connection, half a body or one that is no JSON."""


class RejectedError(TeacherError):
    """The teacher will not take this request, now or later (400, 404, 413, 422, ...)."""


class RefusedError(TeacherError):
    """The teacher refuses this question by an HTTP status instead of a reply (a content policy)."""


class UnknownReplyError(TeacherError):
    """The teacher has no reply to this one question, such as a recording that lacks it; others are not in doubt."""


class DeniedError(TeacherError):
    """The teacher does not let this key in (401, 403): every further call would fail too."""


_PASSING = (408, 409, 425)


def fault(status: int, message: str, headers: Mapping[str, str] | None = None) -> TeacherError:
    """Return the fault that an HTTP status means; `message` must hold no secret."""
    text = f"HTTP {status}: {' '.join(message.split())[:300]}"
    if status == 429:
        return RateLimitedError(text, retry_after(headers or {}))
    if status in (401, 403):
        return DeniedError(text)
    if status in _PASSING or status >= 500:
        return TransientError(text)
    return RejectedError(text)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a Retry-After header asks for, as a number or a date; None if there is none.

    Header names in lower case, as HTTP clients give them. A date in the past is 0.
    """
    value = headers.get("retry-after-ms")
    if value is not None and (seconds := _number(value)) is not None:
        return seconds / 1000
    value = headers.get("retry-after")
    if value is None:
        return None
    if (seconds := _number(value)) is not None:
        return seconds
    try:
        date = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, date.timestamp() - time.time())


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
