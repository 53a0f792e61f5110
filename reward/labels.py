"""Label rows: what teachers say about videos, as `worldcritic label` exports them, read back and checked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from reward.answers import lcs_length, letters
from reward.dimensions import EVENT_FOLLOWING
from reward.errors import InputError
from reward.fields import DimensionName, Named, Number, valid_row
from reward.files import check_id, read_jsonl
from reward.prompts import MAX_EVENTS

ANSWERED = "answer"
"""The one state that is a label; "refusal", "unparsed" and "error" are not."""
FILE_NAME = "labels.jsonl"


_Text = Annotated[str, Field(min_length=1)]
_Probability = Annotated[Number, Field(ge=0, le=1)]


@dataclass(frozen=True)
class LabelRow:
    """What one teacher says to one question about one video.

    Where `state` is "answer", a check has `answer` "yes" or "no" and mostly `p_yes` in [0, 1]; an order question has
    `answer` as letters in order, "" where no event happens. In any other state there is no label.
    """

    prompt_id: _Text
    video: _Text
    t2v_prompt: _Text
    kind: Literal["check", "order"]
    dimension: DimensionName
    question: _Text
    state: Literal["answer", "refusal", "unparsed", "error"]
    answer: str | None = None
    p_yes: _Probability | None = None
    events: tuple[_Text, ...] | None = None
    video_path: str | None = None
    sha256: str | None = None
    generator: str | None = None
    p_source: str | None = None
    answer_mass: float | None = None
    raw: str | None = None
    error: str | None = None
    teacher: Annotated[Mapping[str, Any], Named] = field(default_factory=dict)
    key: str | None = None
    where: str = ""
    """File and line, for error messages."""

    @property
    def path(self) -> Path:
        """Where the video lies, from the current folder."""
        return Path(self.video_path or self.video)

    @property
    def content(self) -> str:
        """What names the video itself: its hash, or its path where the row has no hash."""
        return self.sha256 or str(self.path)

    @property
    def teacher_name(self) -> str:
        """Name and model version of the teacher."""
        parts = (self.teacher.get("name"), self.teacher.get("model_version"))
        return " ".join(str(part) for part in parts if part) or "unnamed"

    @property
    def yes(self) -> bool:
        """Whether a check with an answer is answered Yes."""
        return self.answer == "yes"

    @property
    def order_share(self) -> float:
        """LCS of an answered order with the asked one, divided by the number of events; in [0, 1]."""
        num_events = len(self.events or ())
        return lcs_length(letters(num_events), self.answer or "") / num_events


_ROW = TypeAdapter(LabelRow)


def load_labels(path: Path) -> list[LabelRow]:
    """Read a label file, or labels.jsonl in a folder, in file order; every state is kept, keys beyond ours are not.

    Raises InputError naming file, line and field for anything missing or mistyped, for an answer that contradicts its
    own probability, and for the same question labelled twice by one teacher.
    """
    path = path / FILE_NAME if path.is_dir() else path
    if path.suffix == ".parquet":
        raise InputError(f"label file {path} is parquet; give the {FILE_NAME} that lies beside it")
    rows: list[LabelRow] = []
    seen: dict[tuple[object, ...], str] = {}
    for number, record in read_jsonl(path, "label file"):
        row = _row(record, f"{path}:{number}")
        one = (row.prompt_id, row.video, row.kind, row.dimension, row.question, row.key or row.teacher_name)
        first = seen.setdefault(one, row.where)
        if first != row.where:
            raise InputError(f"{row.where}: the same label as {first}; keep one of the rows")
        rows.append(row)
    if not rows:
        raise InputError(f"label file {path} holds no row; write one with `worldcritic label`")
    return rows


def _row(record: Mapping[str, Any], where: str) -> LabelRow:
    row = valid_row(_ROW, {**record, "where": where}, "a label row", where)
    check_id(row.prompt_id, where)
    if (row.kind == "order") != (row.dimension == EVENT_FOLLOWING):
        raise InputError(f"{where}: kind {row.kind!r} does not go with dimension {row.dimension!r}")
    if row.kind == "order" and not 1 <= len(row.events or ()) <= MAX_EVENTS:
        raise InputError(f"{where}: an order question needs its 'events', 1 to {MAX_EVENTS} of them")
    if row.state == ANSWERED:
        _check_answer(row)
    return row


def _check_answer(row: LabelRow) -> None:
    if row.kind == "check":
        if row.answer not in ("yes", "no"):
            raise InputError(f"{row.where}: the answer to a check is 'yes' or 'no', not {row.answer!r}")
        if row.p_yes is not None and (row.p_yes - 0.5) * (1 if row.yes else -1) < 0:
            raise InputError(f"{row.where}: answer {row.answer!r} contradicts p_yes {row.p_yes:g}")
        return
    asked = letters(len(row.events or ()))
    if row.answer is None or len(set(row.answer)) != len(row.answer) or not set(row.answer) <= set(asked):
        raise InputError(f"{row.where}: order {row.answer!r} is not made of different letters of {asked!r}")
