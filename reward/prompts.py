"""Prompts: a text-to-video prompt, the events it asks for in order, and yes/no checks on the video.

Three forms are read: VideoVerse's own file (a JSON object by id), JSONL (one object a line) and plain text (one
prompt a line). A prompt that comes without events and checks gets one generic question per dimension, in which
its text is quoted as data.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reward.dimensions import CHECK_NAMES, OFFICIAL, dimension_name
from reward.errors import InputError
from reward.files import check_id, read_json, read_jsonl, read_text

MAX_EVENTS = 26
"""Events are named by the letters A to Z."""


@dataclass(frozen=True)
class Check:
    """A yes/no question in one dimension, worded so that Yes is what the prompt asked for.

    `asked` is VideoVerse's `check` key (true where it is missing): a check that is not asked counts in the official
    totals and nowhere else.
    """

    dimension: str
    question: str
    asked: bool = True


@dataclass(frozen=True)
class Prompt:
    """One text-to-video prompt. `raw` is its VideoVerse record, kept so that it can be written out as it came."""

    id: str
    text: str
    events: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def asked_checks(self) -> tuple[Check, ...]:
        """The checks that a critic is to answer, in file order."""
        return tuple(check for check in self.checks if check.asked)

    def to_videoverse(self) -> dict[str, Any]:
        """Return the record in VideoVerse's format, with its official spellings; what was read comes back as it was."""
        if self.raw:
            return dict(self.raw)
        events = [{"event_id": i, "event_description": text} for i, text in enumerate(self.events, start=1)]
        checks = [
            {"check_type": OFFICIAL[check.dimension], "question": check.question, "check": check.asked}
            for check in self.checks
        ]
        return {
            "verification_checks": checks,
            "t2v_following_prompt": {"t2v_prompt": self.text},
            "t2v_eval_event_info": {"verification_plan": events},
        }


def load_prompts(path: str | Path) -> dict[str, Prompt]:
    """Read a prompt file (`.json` VideoVerse, `.jsonl`, else plain text) into prompts by id, in file order.

    Raises InputError naming file, id and field for anything missing, mistyped or given twice.
    """
    path = Path(path)
    if path.suffix == ".json":
        prompts = list(_from_videoverse(path))
    elif path.suffix == ".jsonl":
        prompts = list(_from_jsonl(path))
    else:
        lines = (line.strip() for line in read_text(path, "prompt file").split("\n"))
        prompts = [with_generic_questions(f"p{i:05d}", line) for i, line in enumerate(filter(None, lines), start=1)]
    by_id: dict[str, Prompt] = {}
    for prompt in prompts:
        if prompt.id in by_id:
            raise InputError(f"{path}: prompt id {prompt.id!r} is given twice")
        by_id[prompt.id] = prompt
    if not by_id:
        raise InputError(f"{path}: holds no prompt")
    return by_id


def with_generic_questions(identifier: str, text: str) -> Prompt:
    """Return a prompt whose whole text is its one event and that asks one generic check per dimension."""
    quoted = '"' + text.replace('"', "'") + '"'
    checks = tuple(Check(name, GENERIC_QUESTIONS[name].format(prompt=quoted)) for name in CHECK_NAMES)
    return Prompt(identifier, text, (text,), checks)


GENERIC_QUESTIONS = {
    "mechanics": "Do all objects move as gravity, inertia and contact would make them move in a video of {prompt}?",
    "interaction": "Do the things that touch or act on each other react as one would expect in a video of {prompt}?",
    "material_properties": "Do all materials behave as they would in reality in a video of {prompt}?",
    "camera_control": "Does the camera do what this description asks, or stay calm if it asks nothing: {prompt}?",
    "natural_constraints": "Do light, heat, weather, growth and chemistry obey nature in a video of {prompt}?",
    "common_sense": "Is everything in the video plausible to common sense, given the description {prompt}?",
    "attribution_correctness": "Do colours, numbers, sizes and other attributes match the description {prompt}?",
    "layout_2d": "Are things placed left, right, above and below each other as in the description {prompt}?",
    "depth_3d": "Are things in front of and behind each other consistently, as in the description {prompt}?",
}
"""One question per check dimension for a prompt that brings none; `{prompt}` is its text, quoted."""


def _get(record: Mapping[str, Any], key: str, kind: type, where: str) -> Any:
    if key not in record:
        raise InputError(f"{where}: field {key!r} is missing")
    return _typed(record[key], kind, f"{where}: field {key!r}")


def _typed(value: Any, kind: type, where: str) -> Any:
    if not isinstance(value, kind):
        raise InputError(f"{where} must be {_KINDS[kind]}, got {type(value).__name__}")
    if isinstance(value, str) and not value.strip():
        raise InputError(f"{where} is empty")
    return value


_KINDS = {str: "a string", list: "a list", dict: "an object", bool: "true or false"}


def _check(record: Any, where: str, dimension_key: str) -> Check:
    _typed(record, dict, where)
    try:
        dimension = dimension_name(_get(record, dimension_key, str, where))
    except InputError as error:
        raise InputError(f"{where}: {error}" if where not in str(error) else str(error)) from None
    if dimension not in CHECK_NAMES:
        raise InputError(f"{where}: {dimension} is measured by the events, not by a check")
    asked = _typed(record.get("check", True), bool, f"{where}: field 'check'")
    return Check(dimension, _get(record, "question", str, where), asked)


def _events(texts: Sequence[str], where: str) -> tuple[str, ...]:
    if len(texts) > MAX_EVENTS:
        raise InputError(f"{where}: {len(texts)} events; at most {MAX_EVENTS} can be named by letters")
    return tuple(texts)


def _from_videoverse(path: Path) -> Iterator[Prompt]:
    data = _typed(read_json(path, "prompt file"), dict, f"{path}: the file")
    for identifier, record in data.items():
        where = f"{path}: id {identifier!r}"
        check_id(identifier, str(path))
        _typed(record, dict, where)
        yield from_videoverse(identifier, record, where)


def from_videoverse(identifier: str, record: Mapping[str, Any], where: str) -> Prompt:
    """Read one record of VideoVerse's prompt or result file; `where` begins every error message."""
    text = _get(_get(record, "t2v_following_prompt", dict, where), "t2v_prompt", str, where)
    plan = _typed(record.get("t2v_eval_event_info", {}), dict, f"{where}: field 't2v_eval_event_info'")
    events = [
        _get(_typed(event, dict, f"{where}: event {i}"), "event_description", str, f"{where}: event {i}")
        for i, event in enumerate(_typed(plan.get("verification_plan", []), list, f"{where}: 'verification_plan'"), 1)
    ]
    checks = [
        _check(check, f"{where}: check {i}", "check_type")
        for i, check in enumerate(_typed(record.get("verification_checks", []), list, f"{where}: checks"), 1)
    ]
    return Prompt(identifier, text, _events(events, where), tuple(checks), record)


def _from_jsonl(path: Path) -> Iterator[Prompt]:
    """`{"prompt_id", "prompt", "events": [text], "checks": [{"dimension", "question", "check"?}]}`, or VideoVerse's."""
    for number, record in read_jsonl(path, "prompt file"):
        where = f"{path}:{number}"
        identifier = check_id(_get(record, "prompt_id", str, where), where)
        where = f"{where}: id {identifier!r}"
        if "t2v_following_prompt" in record:
            yield from_videoverse(identifier, {k: v for k, v in record.items() if k != "prompt_id"}, where)
            continue
        text = _get(record, "prompt", str, where)
        if "events" not in record and "checks" not in record:
            yield with_generic_questions(identifier, text)
            continue
        events = _typed(record.get("events", []), list, f"{where}: field 'events'")
        checks = _typed(record.get("checks", []), list, f"{where}: field 'checks'")
        yield Prompt(
            identifier,
            text,
            _events([_typed(event, str, f"{where}: event {i}") for i, event in enumerate(events, 1)], where),
            tuple(_check(check, f"{where}: check {i}", "dimension") for i, check in enumerate(checks, 1)),
        )
