"""Score rows: what `worldcritic score` says of each video, read back and checked."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, StrictInt, TypeAdapter

from reward.answers import letters
from reward.errors import InputError
from reward.fields import DimensionName, MaybeNumber, MaybePositive, MaybeProbability, Named, valid_row
from reward.files import check_id, read_jsonl
from reward.prompts import MAX_EVENTS

SCORED = ("ok", "partial")
"""States of rows that have a reward; in a partial one some answers do not count."""
_ROUNDING = 1e-6
"""An expectation may exceed its bound by the rounding of the sum that it is."""


@dataclass(frozen=True)
class ScoredCheck:
    """The answer to one check: `p_yes` in [0, 1], and how probable any Yes or No was; NaN where there is none."""

    dimension: DimensionName
    question: str
    p_yes: MaybeProbability
    answer_mass: MaybePositive = math.nan


@dataclass(frozen=True)
class ScoredEvents:
    """The answer about `n` events: E[LCS] in [0, n], NaN if none; the most probable order, "" if no event happens."""

    n: Annotated[StrictInt, Field(ge=1, le=MAX_EVENTS)]
    expected_lcs: MaybePositive
    order: str | None
    answer_mass: MaybePositive = math.nan


@dataclass(frozen=True)
class ScoredGates:
    """What the gates measured, `motion` in levels of 255, and the reasons for which nothing is paid."""

    motion: MaybePositive = math.nan
    closed: tuple[str, ...] = ()


@dataclass(frozen=True)
class ScoreRow:
    """One video's row. `reward`, `dimensions` and their stds are NaN where there is none; `error` says why."""

    prompt_id: str
    video: Annotated[str, Field(min_length=1)]
    status: str
    reward: MaybeNumber
    reward_std: MaybePositive = math.nan
    sha256: str | None = None
    error: str | None = None
    dimensions: Mapping[DimensionName, MaybeNumber] = field(default_factory=dict)
    dimension_stds: Mapping[DimensionName, MaybePositive] = field(default_factory=dict)
    questions: tuple[ScoredCheck, ...] = ()
    events: ScoredEvents | None = None
    gates: ScoredGates | None = None
    prompt_sha256: str | None = None
    """Hash of all that was asked, as `reward.scoring.prompt_hash` makes it."""
    critic: Annotated[Mapping[str, Any] | None, Named] = None
    where: str = ""
    """File and line, for error messages."""

    @property
    def scored(self) -> bool:
        """Whether there is a reward."""
        return self.status in SCORED and math.isfinite(self.reward)

    @property
    def failure(self) -> str | None:
        """Why there is no reward, or None if there is one."""
        if self.scored:
            return None
        return f"{self.status}: {self.error}" if self.error else "no reward" if self.status in SCORED else self.status


_ROW = TypeAdapter(ScoreRow)


def load_scores(path: Path) -> list[ScoreRow]:
    """Read a score file, in file order; keys that it holds beyond ours are passed over.

    Raises InputError naming file, line and field for anything missing or mistyped, for a video scored twice, for an
    unsafe prompt id and for a file that mixes critics, whose rewards must not be compared.
    """
    rows: list[ScoreRow] = []
    seen: dict[tuple[str, str], str] = {}
    for number, record in read_jsonl(path, "score file"):
        row = _row(record, f"{path}:{number}")
        first = seen.setdefault((row.prompt_id, row.video), row.where)
        if first != row.where:
            raise InputError(
                f"{row.where}: video {row.video!r} of prompt {row.prompt_id!r} is scored twice, first at {first}; "
                "keep one of the rows"
            )
        rows.append(row)
    if not rows:
        raise InputError(f"score file {path} holds no row; write one with `worldcritic score`")
    refuse_mixed_critics(rows)
    return rows


def _row(record: Mapping[str, Any], where: str) -> ScoreRow:
    row = valid_row(_ROW, {**record, "where": where}, "a row of `worldcritic score`", where)
    check_id(row.prompt_id, where)
    if row.status not in SCORED and math.isfinite(row.reward):
        raise InputError(f"{where}: status {row.status!r} with a reward; only {' and '.join(SCORED)} rows have one")
    if row.events is not None:
        _check_events(row.events, f"{where}: field 'events'")
    return row


def _check_events(events: ScoredEvents, where: str) -> None:
    if events.expected_lcs > events.n + _ROUNDING:
        raise InputError(f"{where}: expected_lcs {events.expected_lcs:g} is more than the {events.n} events asked for")
    order = events.order or ""
    if len(set(order)) != len(order) or not set(order) <= set(letters(events.n)):
        raise InputError(f"{where}: order {order!r} is not made of different letters of {letters(events.n)!r}")


def refuse_mixed_critics(rows: Sequence[ScoreRow]) -> None:
    """Raise InputError where two rows with a reward come from different critics."""
    scored = [row for row in rows if row.status in SCORED]
    for row in scored[1:]:
        first = scored[0]
        if row.critic != first.critic:
            raise InputError(
                f"{row.where}: scored by another critic than {first.where}: {_differences(first, row)}; "
                "rewards of two critics do not compare: score all videos with one"
            )


def _differences(first: ScoreRow, other: ScoreRow) -> str:
    a, b = first.critic or {}, other.critic or {}
    keys = [key for key in {**a, **b} if a.get(key) != b.get(key)]
    names = [str(critic.get("name", "unnamed"))[:80] for critic in (a, b)]
    fields = ", ".join(f"{key} {str(a.get(key))[:60]!r} against {str(b.get(key))[:60]!r}" for key in keys[:3])
    return f"{names[0]!r} and {names[1]!r} differ in {fields}"
