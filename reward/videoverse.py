"""VideoVerse's result file (`eval_res.json`) and its official counting, to the digit.

A result file is the prompt file with answers in it: by id, `verification_checks` whose `res` is "yes" or "no", and
`t2v_eval_event_info` with `overall_event_res`, the judge's text, and `overall_event_processed_res`, its capitals.
The counting takes everything but "yes" (in any case) for no, counts checks that were never asked, and knows nothing of
videos that are missing: totals are sums. What it cannot count, it stops at with an error; so do we, by name.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reward.answers import lcs_length, letters
from reward.errors import InputError
from reward.files import check_id, read_json, write_atomic

UNCATEGORIZED = "uncategorized"
"""The category of a check without `check_type`."""

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Results:
    """Result records by id, in file order, checked; `uncountable` names answers that the official script stops at."""

    records: dict[str, Record]
    uncountable: tuple[str, ...]


def load_results(path: Path, lenient: bool = False) -> Results:
    """Read a result file.

    Raises InputError naming id and field for whatever has not the type that the format gives it; also for an answer
    that is no text (null, true, 1), which the official script stops at, unless `lenient`: it is then listed.
    """
    data = read_json(path, "result file")
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected an object of records by id, got {_kind(data)}")
    uncountable: list[str] = []
    for identifier, record in data.items():
        check_id(identifier, str(path))
        uncountable += _check_record(record, f"{path}: id {identifier!r}")
    if uncountable and not lenient:
        more = f" (and {len(uncountable) - 1} more)" if len(uncountable) > 1 else ""
        raise InputError(
            f"{uncountable[0]}{more}; the official counting stops there: repair the file, or give --lenient to count "
            "such an answer as missing"
        )
    return Results(data, tuple(uncountable))


def plan_of(record: Record) -> list[Any]:
    """Return the asked events of a record, none where it has no plan."""
    return record.get("t2v_eval_event_info", {}).get("verification_plan") or []


def checks_of(record: Record) -> list[dict[str, Any]]:
    """Return the checks of a record, none where it has none."""
    return record.get("verification_checks") or []


def is_asked(check: Record) -> bool:
    """Return whether a check was to be asked; a missing `check` key means true."""
    return check.get("check", True) is not False


def official_check(check: Record) -> int:
    """Return 1 if the official counting takes the check's answer for yes, else 0."""
    return int(_text(check.get("res")).lower() == "yes")


def official_lcs(record: Record) -> int:
    """Return the length of the longest common subsequence of the asked order and the processed answer."""
    answer = _text(record.get("t2v_eval_event_info", {}).get("overall_event_processed_res"))
    return lcs_length(letters(len(plan_of(record))), answer)


def official_report(records: Mapping[str, Record]) -> dict[str, Any]:
    """Return the official report, with its keys in their order: `overall_summary` and `per_video_analysis`."""
    videos = {identifier: _video_analysis(record) for identifier, record in records.items()}
    if not videos:
        return {"overall_summary": {}, "per_video_analysis": {}}
    events = sum(video["event_lcs_length"] or 0 for video in videos.values())
    categories: Counter[str] = Counter()
    for record in records.values():
        categories.update(_by_category(record))
    summary: dict[str, Any] = {"total_event_adherence": events}
    if any(checks_of(record) for record in records.values()):
        summary["verification_checks_score"] = categories.total()
        summary["verification_checks_score_by_category"] = dict(categories)
    summary["total_score"] = events + categories.total()
    summary["total_videos_processed"] = len(videos)
    return {"overall_summary": summary, "per_video_analysis": videos}


def _video_analysis(record: Record) -> dict[str, Any]:
    analysis = None
    if checks_of(record):
        categories = _by_category(record)
        analysis = {
            "overall_score": categories.total(),
            "scores_by_category": dict(categories),
            "total_checks": len(checks_of(record)),
        }
    return {
        "event_lcs_length": official_lcs(record) if plan_of(record) else None,
        "verification_checks_analysis": analysis,
    }


def _by_category(record: Record) -> Counter[str]:
    """Return the yes answers by category as spelled, in order of first appearance, zeros included."""
    categories: Counter[str] = Counter()
    for check in checks_of(record):
        categories[check.get("check_type", UNCATEGORIZED)] += official_check(check)
    return categories


def write_official(path: Path, value: Mapping[str, Any]) -> None:
    """Write JSON as VideoVerse's scripts do: indented by four, without a newline at the end; atomically."""
    write_atomic(path, json.dumps(value, indent=4, ensure_ascii=False, allow_nan=False))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _check_record(record: Any, where: str) -> list[str]:
    """Check one record's types; return its answers that the official script stops at."""
    _typed(record, dict, where)
    info = _typed(record.get("t2v_eval_event_info", {}), dict, f"{where}: field 't2v_eval_event_info'")
    plan = _typed(info.get("verification_plan") or [], list, f"{where}: field 'verification_plan'")
    uncountable = []
    field = "overall_event_processed_res"
    if plan and field in info and not isinstance(info[field], str):
        uncountable.append(f"{where}: field {field!r} must be a string, got {_kind(info[field])}")
    checks = _typed(record.get("verification_checks") or [], list, f"{where}: field 'verification_checks'")
    for number, check in enumerate(checks, start=1):
        place = f"{where}: check {number}"
        _typed(check, dict, place)
        for name, kind in (("check_type", str), ("question", str), ("check", bool)):
            if name in check:
                _typed(check[name], kind, f"{place}: field {name!r}")
        if "res" in check and not isinstance(check["res"], str):
            uncountable.append(f"{place}: field 'res' must be a string, got {_kind(check['res'])}")
    return uncountable


def _typed(value: Any, kind: type, where: str) -> Any:
    if not isinstance(value, kind):
        raise InputError(f"{where} must be {_KINDS[kind]}, got {_kind(value)}")
    return value


_KINDS = {str: "a string", list: "a list", dict: "an object", bool: "true or false", int: "a number", float: "a number"}


def _kind(value: Any) -> str:
    return "null" if value is None else _KINDS[type(value)]
