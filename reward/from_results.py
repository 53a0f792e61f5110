"""Evaluate a VideoVerse result file: the official counting, and beside it the robust reading of the same answers."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reward.answers import lcs_length, letters
from reward.dimensions import CHECK_NAMES, EVENT_FOLLOWING, NAMES, dimension_name
from reward.errors import InputError
from reward.evaluation import Evaluation
from reward.prompts import Prompt
from reward.reading import read_order, read_yes_no
from reward.tally import Measure, Tally, all_dimensions, points_array
from reward.videoverse import (
    UNCATEGORIZED,
    Record,
    Results,
    checks_of,
    is_asked,
    official_check,
    official_lcs,
    official_report,
    plan_of,
)


@dataclass
class _Reading:
    """Points of one record by dimension, and where the two readings differ."""

    asked: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    official: Counter[str] = field(default_factory=Counter)
    robust: Counter[str] = field(default_factory=Counter)
    differences: list[dict[str, Any]] = field(default_factory=list)


def evaluate_results(results: Results, prompts: Mapping[str, Prompt] | None = None) -> Evaluation:
    """Count a result file officially and robustly, against the prompt file where one is given.

    Both readings count asked checks only; the official report counts all. Prompts without a record count as asked and
    not answered: in percent of the official measure, as in its totals, they weigh like no. Raises InputError for a
    record that is not of a prompt in the file, or asks something else than it.
    """
    if prompts is not None:
        for identifier, record in results.records.items():
            _check_against(prompts, identifier, record)
    readings = {identifier: _read(identifier, record) for identifier, record in results.records.items()}
    for identifier, prompt in (prompts or {}).items():
        if identifier not in readings:
            readings[identifier] = _Reading(asked=asked_points(prompt))
    missing = [
        identifier
        for identifier, reading in readings.items()
        if identifier not in results.records or (reading.asked.total() and not reading.answered.total())
    ]
    in_order = list(readings.values())
    return Evaluation(
        official=official_report(results.records),
        no_official=None,
        tally=_tally(in_order),
        expected=list(prompts or results.records),
        missing=missing,
        details=_details(results, in_order),
        notes=_notes(results, in_order),
    )


def asked_points(prompt: Prompt) -> Counter[str]:
    """Return the points that a prompt's asked checks and events can give, by dimension."""
    points = Counter(check.dimension for check in prompt.asked_checks)
    if prompt.events:
        points[EVENT_FOLLOWING] = len(prompt.events)
    return points


def _check_against(prompts: Mapping[str, Prompt], identifier: str, record: Record) -> None:
    if identifier not in prompts:
        raise InputError(f"result file: id {identifier!r} is not in the prompt file; give the prompts it was made from")
    prompt, checks = prompts[identifier], checks_of(record)
    where = f"result file: id {identifier!r}"
    if len(plan_of(record)) != len(prompt.events):
        raise InputError(f"{where}: {len(plan_of(record))} events; the prompt file has {len(prompt.events)}")
    if len(checks) != len(prompt.checks):
        raise InputError(f"{where}: {len(checks)} checks; the prompt file has {len(prompt.checks)}")
    for number, (check, wanted) in enumerate(zip(checks, prompt.checks, strict=True), start=1):
        if check.get("question", wanted.question) != wanted.question:
            raise InputError(
                f"{where}: check {number} asks {check['question']!r}; the prompt file asks {wanted.question!r}"
            )


def _dimension(check: Record) -> str:
    """Return our name where the category is one of the nine of checks, else the category as spelled."""
    spelling = check.get("check_type", UNCATEGORIZED)
    try:
        name = dimension_name(spelling)
    except InputError:
        return str(spelling)
    return name if name in CHECK_NAMES else str(spelling)


def _read(identifier: str, record: Record) -> _Reading:
    reading = _Reading()
    _read_events(reading, identifier, record)
    for number, check in enumerate(checks_of(record), start=1):
        if not is_asked(check):
            continue
        dimension = _dimension(check)
        official, robust = official_check(check), read_yes_no(check.get("res"))
        reading.asked[dimension] += 1
        reading.answered[dimension] += robust is not None
        reading.official[dimension] += official
        reading.robust[dimension] += bool(robust)
        if "res" in check and (robust is None or robust != bool(official)):
            reading.differences.append(
                {
                    "id": identifier,
                    "check": number,
                    "dimension": dimension,
                    "res": check["res"],
                    "official": official,
                    "robust": None if robust is None else int(robust),
                }
            )
    return reading


def _read_events(reading: _Reading, identifier: str, record: Record) -> None:
    """The judge's own text is read where there is one, else what the official script made of it.

    The official script writes processed letters only for an answer that it could read, so that no letters at all mean
    that no event happens.
    """
    num_events = len(plan_of(record))
    if not num_events:
        return
    info = record["t2v_eval_event_info"]
    processed, raw = info.get("overall_event_processed_res"), info.get("overall_event_res")
    order = "" if raw is None and processed == "" else read_order(processed if raw is None else raw, num_events)
    robust = None if order is None else lcs_length(letters(num_events), order)
    official = official_lcs(record)
    reading.asked[EVENT_FOLLOWING] += num_events
    reading.answered[EVENT_FOLLOWING] += num_events if order is not None else 0
    reading.official[EVENT_FOLLOWING] += official
    reading.robust[EVENT_FOLLOWING] += robust or 0
    if (processed is not None or raw is not None) and robust != official:
        reading.differences.append(
            {
                "id": identifier,
                "dimension": EVENT_FOLLOWING,
                "overall_event_res": raw,
                "overall_event_processed_res": processed,
                "official": official,
                "robust": robust,
                "robust_order": order,
            }
        )


def _tally(readings: Sequence[_Reading]) -> Tally:
    dimensions = all_dimensions([name for reading in readings for name in reading.asked])
    asked = points_array([reading.asked for reading in readings], dimensions)
    answered = points_array([reading.answered for reading in readings], dimensions)
    official = points_array([reading.official for reading in readings], dimensions)
    robust = points_array([reading.robust for reading in readings], dimensions)
    return Tally(
        dimensions, asked, answered, {"official": Measure(official, asked), "robust": Measure(robust, answered)}
    )


def _differences(readings: Sequence[_Reading]) -> list[dict[str, Any]]:
    return [difference for reading in readings for difference in reading.differences]


def _not_asked(results: Results) -> dict[str, int]:
    checks = [check for record in results.records.values() for check in checks_of(record) if not is_asked(check)]
    return {"checks": len(checks), "counted_yes": sum(map(official_check, checks))}


def _details(results: Results, readings: Sequence[_Reading]) -> dict[str, Any]:
    return {
        "source": "results",
        "differences": _differences(readings),
        "not_asked": _not_asked(results),
        "official_script_stops_at": list(results.uncountable),
    }


def _notes(results: Results, readings: Sequence[_Reading]) -> list[str]:
    differences, not_asked = _differences(readings), _not_asked(results)
    official = sum(reading.official.total() for reading in readings)
    robust = sum(reading.robust.total() for reading in readings)
    unanswered = sum(difference["robust"] is None for difference in differences)
    notes = ["official and robust readings agree"]
    if differences:
        notes = [
            f"official and robust readings differ in {len(differences)} answers: {official} against {robust} points; "
            f"{unanswered} of them are no answer at all, which the official counting takes for no"
        ]
    if not_asked["checks"]:
        notes.append(
            f"{not_asked['checks']} checks were not to be asked; the official total counts "
            f"{not_asked['counted_yes']} of them as yes, the table leaves them out"
        )
    if results.uncountable:
        notes.append(f"the official script would stop at {len(results.uncountable)} answers, counted here as missing")
    unknown = _tally(readings).dimensions[len(NAMES) :]
    if unknown:
        notes.append(f"WARNING: not one of the ten dimensions: {', '.join(map(repr, unknown))}")
    return notes
