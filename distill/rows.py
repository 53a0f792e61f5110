"""SFT rows: one question about one video and the answer to learn, as JSON lines of flat columns.

Five keys are needed: video_path, t2v_prompt, dimension, question and target. The target of a check is Yes or No, that
of an order question the letters of the events that happen, in order ("A C"), or None.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from reward.answers import letters
from reward.dimensions import EVENT_FOLLOWING
from reward.errors import InputError
from reward.fields import DimensionName, MaybeProbability, Number, valid_row
from reward.files import read_jsonl, write_jsonl
from reward.wording import NONE, order_answer, order_text

_Text = Annotated[str, Field(min_length=1, pattern=r"\S")]
_CHECK_TARGETS = {"yes": "Yes", "no": "No"}


@dataclass(frozen=True)
class Row:
    """One row. `target` is written as a critic is to answer: "Yes", "No", "A C" or "None".

    `teacher_p` in [0, 1] is the teacher's p_yes of a check, the soft target (1 or 0 where a file does not give it), and
    NaN for an order question. `weight` >= 0 scales the row's loss. Nobody has watched the video for a row that is
    `mismatched`, its question being another prompt's, or `frozen`, its video being a frozen copy.
    """

    video_path: _Text
    t2v_prompt: _Text
    dimension: DimensionName
    question: _Text
    target: str
    kind: Literal["check", "order"] | None = None
    teacher_p: MaybeProbability = math.nan
    weight: Annotated[Number, Field(ge=0)] = 1.0
    prompt_id: str | None = None
    sha256: str | None = None
    teacher: str | None = None
    generator: str | None = None
    events: tuple[str, ...] | None = None
    mismatched: bool = False
    frozen: bool = False
    where: str = ""
    """File and line, for error messages."""

    @property
    def prompt_key(self) -> str:
        """What names the prompt: its id, or a hash of its text where the file gives no id."""
        return self.prompt_id or hashlib.sha256(self.t2v_prompt.encode()).hexdigest()[:16]

    @property
    def content(self) -> str:
        """What names the video itself: its hash, or its path where the file gives no hash."""
        return self.sha256 or self.video_path

    @property
    def order(self) -> str:
        """The letters of an order question's target: "AC" for "A C", "" for "None"."""
        return "" if self.target == NONE else self.target.replace(" ", "")

    @property
    def positive(self) -> bool:
        """Whether the answer is the asked-for one: Yes, or every event of the question in its order."""
        if self.kind == "check":
            return self.target == "Yes"
        return self.order == letters(len(self.events) if self.events else max(1, len(self.order)))

    def to_json(self) -> dict[str, Any]:
        """Return the row as it is written: flat columns, null for what is missing."""
        return {
            "video_path": self.video_path,
            "t2v_prompt": self.t2v_prompt,
            "dimension": self.dimension,
            "question": self.question,
            "target": self.target,
            "kind": self.kind,
            "teacher_p": None if math.isnan(self.teacher_p) else self.teacher_p,
            "weight": self.weight,
            "prompt_id": self.prompt_id,
            "sha256": self.sha256,
            "teacher": self.teacher,
            "generator": self.generator,
            "events": list(self.events) if self.events is not None else None,
            "mismatched": self.mismatched,
            "frozen": self.frozen,
        }


_ROW = TypeAdapter(Row)


def load_rows(path: Path) -> list[Row]:
    """Read a file of SFT rows, ours or anyone's with the five keys; keys beyond ours are passed over.

    Raises InputError naming file, line and field for anything missing, mistyped or contradictory, and for an empty
    file.
    """
    rows = [parse_row(record, f"{path}:{number}") for number, record in read_jsonl(path, "SFT file")]
    if not rows:
        raise InputError(f"SFT file {path} holds no row; write one with `worldcritic dataset`")
    return rows


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as JSON lines, the whole file or nothing."""
    write_jsonl(path, [row.to_json() for row in rows])


def parse_row(record: Mapping[str, Any], where: str) -> Row:
    """Return one row from its JSON object, with everything that can be filled in; `where` begins every error."""
    given = {key: value for key, value in record.items() if value is not None or key in _REQUIRED}
    row = valid_row(_ROW, {**given, "where": where}, "an SFT row", where)
    if row.prompt_id is not None and not row.prompt_id.strip():
        raise InputError(f"{where}: field 'prompt_id' is empty; leave it out or give one")
    return _order_row(row) if _is_order(row) else _check_row(row)


_REQUIRED = ("video_path", "t2v_prompt", "dimension", "question", "target")


def _is_order(row: Row) -> bool:
    """Tell the kind by the target where the file does not say it: anyone may ask yes/no questions about events."""
    if row.kind is not None:
        return row.kind == "order"
    return row.dimension == EVENT_FOLLOWING and row.target.strip().casefold() not in _CHECK_TARGETS


def _check_row(row: Row) -> Row:
    target = _CHECK_TARGETS.get(row.target.strip().casefold())
    if target is None:
        raise InputError(f"{row.where}: field 'target': {row.target!r} is not Yes or No")
    hard = float(target == "Yes")
    if not math.isnan(row.teacher_p) and (row.teacher_p - 0.5) * (hard - 0.5) < 0:
        raise InputError(f"{row.where}: target {target!r} contradicts teacher_p {row.teacher_p:g}")
    p = hard if math.isnan(row.teacher_p) else row.teacher_p
    return replace(row, kind="check", target=target, teacher_p=p)


def _order_row(row: Row) -> Row:
    if row.dimension != EVENT_FOLLOWING:
        raise InputError(f"{row.where}: an order question has the dimension {EVENT_FOLLOWING}, not {row.dimension!r}")
    if not math.isnan(row.teacher_p):
        raise InputError(f"{row.where}: field 'teacher_p' is the p_yes of a check; an order question has none")
    events = row.events or _events_in(row.question)
    text = row.target.strip()
    order = "" if text.casefold() == NONE.casefold() else text.replace(",", " ").replace(" ", "")
    asked = letters(len(events) if events else 26)
    if (not order and text.casefold() != NONE.casefold()) or len(set(order)) != len(order) or set(order) - set(asked):
        raise InputError(
            f"{row.where}: field 'target': {row.target!r} is neither {NONE!r} nor different letters of {asked!r}"
        )
    return replace(row, kind="order", target=order_answer(order), events=events)


def _events_in(question: str) -> tuple[str, ...] | None:
    """Return the events that a question in our wording lists, None for a question in other words."""
    marked = [line.partition(": ") for line in question.split("\n")]
    events = tuple(text for letter, _, text in marked if len(letter) == 1 and letter.isupper() and text)
    return events if events and order_text(events) == question else None
