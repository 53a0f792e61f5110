"""What a critic says, raw, to questions that have a label: by asking it, or from score rows."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from distill.rows import Row
from reward.answers import Critic, Judgement, Order
from reward.calibrator import Answers, Orders
from reward.errors import CriticError, InputError, VideoError
from reward.progress import Progress
from reward.prompts import Check, Prompt
from reward.scores import ScoreRow
from reward.video import Clip, VideoReaders


@dataclass(frozen=True)
class HeldOut:
    """Raw answers beside labels, and counts of labels without an answer by reason."""

    answers: Answers
    orders: Orders
    unanswered: Counter[str]


class _Collector:
    def __init__(self) -> None:
        self.checks: list[tuple[float, float, str, str]] = []
        self.orders: list[tuple[Order, str, str]] = []
        self.unanswered: Counter[str] = Counter()

    def check(self, row: Row, p_yes: float, mass: float, least: float) -> None:
        if mass < least:
            self.unanswered["answer mass too low"] += 1
        elif not np.isfinite(p_yes):
            self.unanswered["no answer"] += 1
        else:
            self.checks.append((p_yes, float(row.target == "Yes"), row.dimension, row.prompt_key))

    def order(self, row: Row, order: Order, least: float) -> None:
        if order.answer_mass < least:
            self.unanswered["answer mass too low"] += 1
        else:
            self.orders.append((order, row.order, row.prompt_key))

    def collected(self) -> HeldOut:
        p, y, dimension, prompt = zip(*self.checks, strict=True) if self.checks else ((), (), (), ())
        answers = Answers(np.array(p, float), np.array(y, float), np.array(dimension, object), np.array(prompt, object))
        orders = Orders(*map(list, zip(*self.orders, strict=True))) if self.orders else Orders()
        return HeldOut(answers, orders, self.unanswered)


def ask_critic(
    critic: Critic, rows: Sequence[Row], readers: VideoReaders, least_mass: float, at_once: int = 8
) -> HeldOut:
    """Ask a critic all labelled questions, each video once; a video that fails is counted, not guessed.

    Raises InputError where two labels of a video ask about different lists of events.
    """
    videos: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        videos.setdefault((row.prompt_key, row.content), []).append(row)
    collector = _Collector()
    with Progress(len(videos), "asking the critic") as progress:
        for asked, outcome in _judged(critic, list(videos.values()), readers, at_once):
            if isinstance(outcome, Judgement):
                _collect(collector, asked, outcome, least_mass)
            else:
                collector.unanswered[f"video failed: {outcome}"] += len(asked)
            progress.advance()
    return collector.collected()


def from_scores(rows: Sequence[Row], scores: Sequence[ScoreRow], least_mass: float) -> HeldOut:
    """Take raw answers to checks from score rows of the same videos; event orders have no distribution there.

    Videos are matched by prompt and hash, or path where one of both has no hash.
    """
    by_content = {(score.prompt_id, content): score for score in scores for content in (score.sha256, score.video)}
    collector = _Collector()
    for row in rows:
        score = by_content.get((row.prompt_key, row.content))
        if row.kind == "order":
            collector.unanswered["event order, which score rows hold no distribution of"] += 1
            continue
        found = next(
            (
                check
                for check in (score.questions if score else ())
                if (check.dimension, check.question) == (row.dimension, row.question)
            ),
            None,
        )
        if found is None:
            collector.unanswered["no score of this video and question"] += 1
        else:
            mass = 1.0 if np.isnan(found.answer_mass) else found.answer_mass
            collector.check(row, found.p_yes, mass, least_mass)
    return collector.collected()


def _prompt(rows: Sequence[Row]) -> Prompt:
    """Return one prompt that asks every labelled question about a video."""
    checks = dict.fromkeys((row.dimension, row.question) for row in rows if row.kind == "check")
    events = list(dict.fromkeys(row.events or () for row in rows if row.kind == "order"))
    if len(events) > 1:
        raise InputError(f"{rows[0].video_path}: labelled with two different lists of events; keep one")
    asked = tuple(Check(dimension, question) for dimension, question in checks)
    return Prompt(rows[0].prompt_key, rows[0].t2v_prompt, events[0] if events else (), asked)


def _judged(
    critic: Critic, videos: Sequence[Sequence[Row]], readers: VideoReaders, at_once: int
) -> Iterator[tuple[Sequence[Row], Judgement | VideoError | CriticError]]:
    clips = readers.stream([Path(rows[0].video_path) for rows in videos], critic.sampling)
    decoded = iter(zip(videos, (clip for _, clip in clips), strict=True))
    while batch := list(islice(decoded, at_once)):
        good = [(clip, _prompt(rows)) for rows, clip in batch if isinstance(clip, Clip)]
        outcomes = iter(_judge(critic, good))
        for rows, clip in batch:
            yield rows, clip if isinstance(clip, VideoError) else next(outcomes)


def _judge(critic: Critic, batch: Sequence[tuple[Clip, Prompt]]) -> list[Judgement | VideoError | CriticError]:
    """Judge a batch; if it fails, judge one by one, so that one clip does not take the others down."""
    if not batch:
        return []
    try:
        return list(critic.judge([clip for clip, _ in batch], [prompt for _, prompt in batch]))
    except (VideoError, CriticError) as error:
        return [error] if len(batch) == 1 else [_judge(critic, [each])[0] for each in batch]


def _collect(collector: _Collector, rows: Sequence[Row], judgement: Judgement, least: float) -> None:
    asked = _prompt(rows).asked_checks
    answers = {(check.dimension, check.question): each for check, each in zip(asked, judgement.answers, strict=True)}
    for row in rows:
        if row.kind == "check":
            answer = answers[row.dimension, row.question]
            collector.check(row, answer.p_yes, answer.answer_mass, least)
        elif judgement.order is not None:
            collector.order(row, judgement.order, least)
