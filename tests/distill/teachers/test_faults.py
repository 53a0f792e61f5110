from email.utils import formatdate
from time import time

import pytest

from distill.teachers.faults import (
    DeniedError,
    RateLimitedError,
    RejectedError,
    TransientError,
    fault,
    retry_after,
)

KINDS = {
    RateLimitedError: [429],
    TransientError: [408, 409, 500, 502, 503],
    DeniedError: [401, 403],
    RejectedError: [400, 404, 413, 422],
}


@pytest.mark.parametrize(("status", "kind"), [(status, kind) for kind, each in KINDS.items() for status in each])
def test_statuses_are_sorted_by_what_is_to_be_done(status, kind):
    found = fault(status, "why\nnot", {})
    assert type(found) is kind
    assert str(found) == f"HTTP {status}: why not"


def test_retry_after_is_seconds_milliseconds_or_a_date():
    assert retry_after({"retry-after": "2.5"}) == 2.5
    assert retry_after({"retry-after-ms": "1500", "retry-after": "9"}) == 1.5
    assert retry_after({"retry-after": formatdate(time() + 100, usegmt=True)}) == pytest.approx(100, abs=2)
    assert retry_after({"retry-after": formatdate(time() - 100, usegmt=True)}) == 0.0


@pytest.mark.parametrize("value", ["soon", "-3", "nan", "inf", ""])
def test_a_retry_after_that_says_nothing_is_none(value):
    assert retry_after({"retry-after": value}) is None
    assert retry_after({}) is None
    assert fault(429, "x", {"retry-after": value}).retry_after is None
