"""From labels of one or several teachers to one answer per question and video."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from distill.rows import Row
from reward.labels import ANSWERED, LabelRow
from reward.wording import order_answer, order_text

Rule = Literal["drop", "mean", "first"]


@dataclass(frozen=True)
class Resolved:
    """SFT rows, one per question and video, and how they came about.

    `states` counts label rows by state. `several` counts questions with several labels, `conflicts` those of them whose
    labels disagree, `dropped` the conflicts that give no row.
    """

    rows: tuple[Row, ...]
    states: Counter[str]
    several: int
    conflicts: int
    dropped: int


def resolve(labels: Sequence[LabelRow], rule: Rule) -> Resolved:
    """Return one SFT row per question and video; labels of the same video bytes and prompt go together.

    Where all labels agree, `teacher_p` is the mean of their p_yes (1 or 0 for a label without one). Where they do not,
    `rule` decides: "drop" leaves the question out; "first" takes the label that comes first; "mean" takes the side of
    the mean p_yes, or the most frequent order, and drops an exact tie.
    """
    groups: dict[tuple[object, ...], list[LabelRow]] = {}
    for label in labels:
        if label.state == ANSWERED:
            asked = label.events if label.kind == "order" else label.question
            groups.setdefault((label.prompt_id, label.content, label.dimension, asked), []).append(label)
    rows, conflicts = [], 0
    for group in groups.values():
        disagree = len({label.answer for label in group}) > 1
        conflicts += disagree
        if not disagree or rule != "drop":
            rows.append(_row([group[0]] if disagree and rule == "first" else group))
    found = tuple(row for row in rows if row is not None)
    several = sum(len(group) > 1 for group in groups.values())
    states: Counter[str] = Counter(label.state for label in labels)
    return Resolved(found, states, several, conflicts, len(groups) - len(found))


def probability(label: LabelRow) -> float:
    """Return the p_yes of a check's label; 1 or 0 where the teacher gave none."""
    return float(label.yes) if label.p_yes is None else label.p_yes


def _row(group: Sequence[LabelRow]) -> Row | None:
    """Return the row of labels that are to be joined, None where they are tied."""
    label = group[0]
    if label.kind == "order":
        (order, votes), *others = Counter(each.answer or "" for each in group).most_common(2)
        if others and others[0][1] == votes:
            return None
        return _made(group, order_text(label.events or ()), order_answer(order), math.nan)
    p_yes = math.fsum(map(probability, group)) / len(group)
    agreed = {each.yes for each in group}
    if len(agreed) > 1 and p_yes == 0.5:
        return None
    yes = agreed.pop() if len(agreed) == 1 else p_yes > 0.5
    return _made(group, label.question, "Yes" if yes else "No", p_yes)


def _made(group: Sequence[LabelRow], question: str, target: str, teacher_p: float) -> Row:
    label = group[0]
    return Row(
        video_path=str(label.path),
        t2v_prompt=label.t2v_prompt,
        dimension=label.dimension,
        question=question,
        target=target,
        kind=label.kind,
        teacher_p=teacher_p,
        prompt_id=label.prompt_id,
        sha256=label.sha256,
        teacher="+".join(dict.fromkeys(each.teacher_name for each in group)),
        generator=label.generator,
        events=label.events,
    )
