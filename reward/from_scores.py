"""Evaluate a critic's scores as VideoVerse would: official hard totals, and beside them the expected ones.

Hard: an answer is yes where p_yes reaches the threshold, and the order is the most probable one. Expected: p_yes and
E[LCS] themselves are added up. With several candidates of a prompt both are means over its candidates, which says how
good the generator is on average; how good its best is, `worldcritic rank` says.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reward.answers import lcs_length, letters
from reward.dimensions import EVENT_FOLLOWING, NAMES
from reward.errors import InputError
from reward.evaluation import Evaluation
from reward.from_results import asked_points
from reward.prompts import Prompt
from reward.scores import ScoredCheck, ScoreRow
from reward.tables import count_shown
from reward.tally import Measure, Tally, points_array
from reward.videoverse import official_report

SEVERAL = "several videos of one prompt have a score; pick one per prompt with `worldcritic rank`"
ORDER_NONE = "None"
"""What a judge writes where no event happens."""


@dataclass(frozen=True)
class Judged:
    """One scored video: yes or no per asked check, and the order, None where there is no answer that counts."""

    prompt: Prompt
    row: ScoreRow
    p_yes: tuple[float, ...]
    order: str | None
    expected_lcs: float

    def points(self, threshold: float) -> dict[str, dict[str, float]]:
        """Return what was answered, and hard and expected points, by dimension."""
        answered, hard, expected = (dict.fromkeys(NAMES, 0.0) for _ in range(3))
        for check, p_yes in zip(self.prompt.asked_checks, self.p_yes, strict=True):
            if not math.isnan(p_yes):
                answered[check.dimension] += 1
                hard[check.dimension] += p_yes >= threshold
                expected[check.dimension] += p_yes
        if self.order is not None:
            num_events = len(self.prompt.events)
            answered[EVENT_FOLLOWING] += num_events
            hard[EVENT_FOLLOWING] += lcs_length(letters(num_events), self.order)
            expected[EVENT_FOLLOWING] += self.expected_lcs
        return {"answered": answered, "hard": hard, "expected": expected}


def judge_rows(
    rows: Sequence[ScoreRow], prompts: Mapping[str, Prompt], min_answer_mass: float | None
) -> dict[str, list[Judged]]:
    """Return the scored videos by prompt id, checked against the prompts.

    `min_answer_mass` is the least answer mass at which an answer counts, None for the critic's own as its rows name
    it. Raises InputError for a row of an unknown prompt, one that answers other questions than the prompt asks, and
    one that leaves open which answers count.
    """
    judged: dict[str, list[Judged]] = {}
    for row in rows:
        if row.prompt_id not in prompts:
            raise InputError(f"{row.where}: prompt id {row.prompt_id!r} is not in the prompt file")
        if row.scored:
            _check_questions(row, prompts[row.prompt_id])
            least = _least_mass(row, min_answer_mass)
            judged.setdefault(row.prompt_id, []).append(_judged(row, prompts[row.prompt_id], least))
    return judged


def _check_questions(row: ScoreRow, prompt: Prompt) -> None:
    where = f"{row.where}: prompt id {prompt.id!r}"
    asked = prompt.asked_checks
    if len(row.questions) != len(asked):
        raise InputError(f"{where}: {len(row.questions)} questions answered; the prompt file asks {len(asked)}")
    for number, (answer, check) in enumerate(zip(row.questions, asked, strict=True), start=1):
        if (answer.dimension, answer.question) != (check.dimension, check.question):
            raise InputError(
                f"{where}: question {number} is {answer.dimension} {answer.question!r}; the prompt file asks "
                f"{check.dimension} {check.question!r}: score with the same prompts"
            )
    num_events = row.events.n if row.events else 0
    if num_events != len(prompt.events):
        raise InputError(f"{where}: {num_events} events answered; the prompt file has {len(prompt.events)}")


def _least_mass(row: ScoreRow, min_answer_mass: float | None) -> float:
    if min_answer_mass is not None:
        return min_answer_mass
    own = (row.critic or {}).get("min_answer_mass")
    if isinstance(own, int | float):
        return float(own)
    if row.status != "ok":
        raise InputError(
            f"{row.where}: some answers do not count ({row.error}), and the critic's identity does not name its "
            "min_answer_mass; give --min_answer_mass"
        )
    return 0.0


def _judged(row: ScoreRow, prompt: Prompt, least: float) -> Judged:
    events = row.events
    counts = events is not None and events.order is not None and not events.answer_mass < least
    return Judged(
        prompt=prompt,
        row=row,
        p_yes=tuple(_counted(answer, least) for answer in row.questions),
        order=events.order if events and counts and math.isfinite(events.expected_lcs) else None,
        expected_lcs=events.expected_lcs if events else math.nan,
    )


def _counted(answer: ScoredCheck, least: float) -> float:
    return math.nan if answer.answer_mass < least else answer.p_yes


def evaluate_scores(
    rows: Sequence[ScoreRow], judged: Mapping[str, Sequence[Judged]], prompts: Mapping[str, Prompt], threshold: float
) -> Evaluation:
    """Sum up scored videos; prompts and videos without a score are left out of both measures and listed."""
    several = [identifier for identifier, videos in judged.items() if len(videos) > 1]
    missing = [identifier for identifier in prompts if identifier not in judged]
    failed = [{"id": row.prompt_id, "video": row.video, "reason": row.failure} for row in rows if not row.scored]
    points = {identifier: [video.points(threshold) for video in videos] for identifier, videos in judged.items()}
    return Evaluation(
        official=None if several else official_report(to_results(judged, threshold)),
        no_official=SEVERAL if several else None,
        tally=_tally(prompts, points),
        expected=list(prompts),
        missing=missing,
        details={
            "source": "scores",
            "threshold": threshold,
            "critic": next((row.critic for row in rows if row.critic is not None), None),
            "videos": {"scored": sum(map(len, judged.values())), "failed": failed},
            "several_candidates": several,
        },
        notes=_notes(judged, failed, len(several)),
    )


def _tally(prompts: Mapping[str, Prompt], points: Mapping[str, Sequence[Mapping[str, Mapping[str, float]]]]) -> Tally:
    asked = points_array([asked_points(prompt) for prompt in prompts.values()], NAMES)
    arrays = {
        name: points_array(
            [_mean([video[name] for video in points.get(identifier, ())]) for identifier in prompts], NAMES
        )
        for name in ("answered", "hard", "expected")
    }
    answered = arrays.pop("answered")
    return Tally(NAMES, asked, answered, {name: Measure(array, answered) for name, array in arrays.items()})


def _mean(videos: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: math.fsum(video[name] for video in videos) / len(videos) for name in NAMES} if videos else {}


def to_results(judged: Mapping[str, Sequence[Judged]], threshold: float) -> dict[str, dict[str, Any]]:
    """Return VideoVerse result records by id; an answer that does not count is left out, as one never given.

    Raises InputError where a prompt has several videos.
    """
    if any(len(videos) > 1 for videos in judged.values()):
        raise InputError(SEVERAL)
    return {identifier: _record(videos[0], threshold) for identifier, videos in judged.items()}


def _record(video: Judged, threshold: float) -> dict[str, Any]:
    record = copy.deepcopy(video.prompt.to_videoverse())
    answers = iter(video.p_yes)
    for check, wanted in zip(record.get("verification_checks", []), video.prompt.checks, strict=True):
        check.pop("res", None)
        p_yes = next(answers) if wanted.asked else math.nan
        if not math.isnan(p_yes):
            check["res"] = "yes" if p_yes >= threshold else "no"
    info = record.get("t2v_eval_event_info", {})
    info.pop("overall_event_res", None)
    info.pop("overall_event_processed_res", None)
    if video.order is not None:
        info["overall_event_res"] = ", ".join(video.order) or ORDER_NONE
        info["overall_event_processed_res"] = video.order
    return record


def _notes(judged: Mapping[str, Sequence[Judged]], failed: Sequence[Mapping[str, Any]], several: int) -> list[str]:
    videos = sum(map(len, judged.values()))
    notes = [f"{videos} videos have a score, {len(failed)} have none"]
    if several:
        notes.append(
            f"{several} prompts have several candidates: points are means over a prompt's candidates "
            f"({count_shown(videos / len(judged))} on average)"
        )
    return notes
