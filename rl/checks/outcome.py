"""What a check finds, and how checks are run: one that raises has failed, and the others go on."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from reward.errors import WorldcriticError

Status = Literal["passed", "warned", "failed", "skipped"]
NEEDS_TEXT = 'needs a package that is not installed; pip install "worldcritic[rl]"'


@dataclass(frozen=True)
class Outcome:
    """What a check found: `measured` beside its `bar`, `value` where it is one number, and what to do about it.

    A warning is a finding that may be wanted, such as a schedule that wastes its last step; it fails nothing.
    """

    status: Status
    measured: str
    bar: str = ""
    value: float | None = None
    advice: str = ""


@dataclass(frozen=True)
class Check:
    """A check by its name in the table; `slow` ones are left out by --fast."""

    name: str
    run: Callable[[], Outcome]
    slow: bool = False


@dataclass(frozen=True)
class Result:
    """An outcome, what it is about (`about`: environment, generator or critic), and how long it took."""

    about: str
    name: str
    outcome: Outcome
    seconds: float

    def to_json(self) -> dict[str, str | float | None]:
        """Return a row of doctor.json."""
        found = self.outcome
        value = found.value if found.value is not None and math.isfinite(found.value) else None
        return {
            "about": self.about,
            "name": self.name,
            "status": found.status,
            "measured": found.measured,
            "value": value,
            "bar": found.bar,
            "what_to_do": found.advice or None,
            "seconds": round(self.seconds, 3),
        }


def passed(measured: str, bar: str = "", value: float | None = None) -> Outcome:
    """Return that all is well."""
    return Outcome("passed", measured, bar, value)


def warned(measured: str, advice: str, bar: str = "", value: float | None = None) -> Outcome:
    """Return something to know about."""
    return Outcome("warned", measured, bar, value, advice)


def failed(measured: str, advice: str, bar: str = "", value: float | None = None) -> Outcome:
    """Return that something is wrong, and what to do."""
    return Outcome("failed", measured, bar, value, advice)


def skipped(reason: str, advice: str = "") -> Outcome:
    """Return why nothing was checked."""
    return Outcome("skipped", reason, advice=advice)


def at_most(value: float, bar: float, advice: str, what: str = "max difference") -> Outcome:
    """Return whether a measured value reaches its bar; NaN does not."""
    measured, limit = f"{what} {value:.3g}", f"{bar:.3g}"
    return passed(measured, limit, value) if value <= bar else failed(measured, advice, limit, value)


def run_checks(about: str, checks: Iterable[Check], fast: bool) -> Iterator[Result]:
    """Run checks in order; yield each result as it comes."""
    for check in checks:
        started = time.perf_counter()
        outcome = skipped("left out by --fast") if fast and check.slow else attempt(check.run)
        yield Result(about, check.name, outcome, time.perf_counter() - started)


def attempt(run: Callable[[], Outcome]) -> Outcome:
    """Return a check's outcome; one that raises has failed with its error.

    Here, and nowhere else, every exception is caught: what a model of someone else's raises is the finding.
    """
    try:
        return run()
    except WorldcriticError as error:
        return failed(_one_line(error), advice="")  # the message says what to do
    except ImportError as error:
        return failed(_one_line(error), NEEDS_TEXT)
    except Exception as error:
        return failed(f"{type(error).__name__}: {_one_line(error)}", _about_error(error))


def named(outcome: Outcome, prefix: str) -> Outcome:
    """Return an outcome whose measured text begins with a prefix."""
    return replace(outcome, measured=f"{prefix}{outcome.measured}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _about_error(error: Exception) -> str:
    if "out of memory" in str(error).lower():
        return "not enough memory for this check; give a smaller --num_frames, --height, --width, or another --device"
    return "the check itself broke; if the model works elsewhere, report this with the output of --out"
