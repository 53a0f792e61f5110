"""Score rows beside label rows of the same videos and questions."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from reward.answers import lcs_length, letters
from reward.errors import InputError
from reward.labels import ANSWERED, LabelRow
from reward.scores import ScoredCheck, ScoreRow


@dataclass(frozen=True)
class ComparedCheck:
    """The critic's p_yes in [0, 1] beside the label of one check; `label_p` is the teacher's own p_yes, or 1 or 0."""

    prompt_id: str
    video: str
    generator: str | None
    dimension: str
    p_yes: float
    yes: bool
    label_p: float


@dataclass(frozen=True)
class ComparedOrder:
    """The critic's order beside the label's, and LCS with the asked order / events in [0, 1]: expected, labelled."""

    prompt_id: str
    video: str
    generator: str | None
    order: str
    label_order: str
    expected_share: float
    label_share: float
    num_events: int


@dataclass(frozen=True)
class ComparedVideo:
    """The critic's reward beside the labels' own, (LCS + Yes) / (events + checks) over what is labelled."""

    prompt_id: str
    video: str
    generator: str | None
    reward: float
    label_reward: float


@dataclass(frozen=True)
class Matched:
    """What could be compared, and counts by reason of labels that could not."""

    checks: list[ComparedCheck]
    orders: list[ComparedOrder]
    videos: list[ComparedVideo]
    unmatched: Counter[str]


def one_teacher(labels: Sequence[LabelRow], teacher: str | None) -> list[LabelRow]:
    """Return the labels with an answer of one teacher, by its name with or without model version.

    Raises InputError where there is none, where several teachers answered and none is named, and where one question
    about a video has two labels.
    """
    found = [label for label in labels if label.state == ANSWERED]
    names = sorted({label.teacher_name for label in found})
    if teacher is not None:
        found = [label for label in found if teacher in (label.teacher_name, label.teacher.get("name"))]
        if not found:
            raise InputError(f"no label of teacher {teacher!r}; the labels are of {', '.join(names) or 'nobody'}")
    elif len(names) > 1:
        raise InputError(f"labels of several teachers ({', '.join(names)}); name one with --teacher")
    if not found:
        raise InputError("no row has state 'answer', so there is no label to compare with")
    seen: dict[tuple[object, ...], LabelRow] = {}
    for label in found:
        first = seen.setdefault((label.prompt_id, label.video, label.dimension, label.question), label)
        if first is not label:
            raise InputError(f"{label.where}: answers the same question as {first.where}; keep one of them")
    return found


def match(labels: Sequence[LabelRow], scores: Sequence[ScoreRow], min_answer_mass: float | None = None) -> Matched:
    """Return scores and labels side by side, by prompt and file hash, or path where a row has no hash.

    Answers with an answer mass below `min_answer_mass`, or the critic's own where it is None, are not compared.
    """
    by_content = {(row.prompt_id, content): row for row in scores for content in (row.sha256, row.video) if content}
    matched = Matched([], [], [], Counter())
    by_video: dict[tuple[str, str], list[LabelRow]] = {}
    for label in labels:
        by_video.setdefault((label.prompt_id, label.video), []).append(label)
    for (prompt_id, video), group in by_video.items():
        row = by_content.get((prompt_id, group[0].sha256 or video)) or by_content.get((prompt_id, video))
        reason = _why_not(row, group[0])
        if row is None or reason:
            matched.unmatched[reason or ""] += len(group)
            continue
        least = float((row.critic or {}).get("min_answer_mass") or 0.0) if min_answer_mass is None else min_answer_mass
        for label in group:
            problem = (
                _check(matched, row, label, least) if label.kind == "check" else _order(matched, row, label, least)
            )
            if problem:
                matched.unmatched[problem] += 1
        matched.videos.append(_video(row, group))
    return matched


def _why_not(row: ScoreRow | None, label: LabelRow) -> str | None:
    if row is None:
        return "no score of this video"
    if label.sha256 and row.sha256 and label.sha256 != row.sha256:
        return "the scored file is another than the labelled one"
    return None if row.scored else f"the video has no reward ({row.status})"


def _check(matched: Matched, row: ScoreRow, label: LabelRow, least: float) -> str | None:
    """Compare one check; return why it cannot be."""
    asked: dict[tuple[str, str], ScoredCheck] = {(each.dimension, each.question): each for each in row.questions}
    found = asked.get((label.dimension, label.question))
    if found is None:
        return "the critic was not asked this question"
    if math.isnan(found.p_yes) or found.answer_mass < least:
        return "the critic's answer does not count"
    label_p = float(label.yes) if label.p_yes is None else label.p_yes
    matched.checks.append(
        ComparedCheck(row.prompt_id, row.video, label.generator, label.dimension, found.p_yes, label.yes, label_p)
    )
    return None


def _order(matched: Matched, row: ScoreRow, label: LabelRow, least: float) -> str | None:
    events, num_events = row.events, len(label.events or ())
    if events is None or events.n != num_events:
        return "the critic was asked about other events"
    if events.order is None or math.isnan(events.expected_lcs) or events.answer_mass < least:
        return "the critic's answer does not count"
    matched.orders.append(
        ComparedOrder(
            row.prompt_id,
            row.video,
            label.generator,
            events.order,
            label.answer or "",
            events.expected_lcs / num_events,
            label.order_share,
            num_events,
        )
    )
    return None


def _video(row: ScoreRow, labels: Sequence[LabelRow]) -> ComparedVideo:
    points, possible = 0.0, 0
    for label in labels:
        num_events = len(label.events or ())
        points += label.yes if label.kind == "check" else lcs_length(letters(num_events), label.answer or "")
        possible += 1 if label.kind == "check" else num_events
    return ComparedVideo(row.prompt_id, row.video, labels[0].generator, row.reward, points / possible)
