"""Each prompt's candidates side by side: rewards by dimension, every question, the order of events."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reward.answers import letters
from reward.dimensions import NAMES
from reward.page.leaderboard import LABELS
from reward.page.scored import Scored, by_prompt
from reward.page.videos import Video, Videos
from reward.prompts import Prompt
from reward.ranking import ranked
from reward.scores import ScoreRow


@dataclass(frozen=True)
class Bar:
    """One dimension's reward in [0, 1], and its standard deviation, NaN where it is unknown."""

    label: str
    value: float
    std: float


@dataclass(frozen=True)
class Card:
    """One candidate: `bars` are the dimensions that were asked and answered; `number` counts from 1, best first."""

    number: int
    best: bool
    generator: str
    video: Video
    row: ScoreRow
    bars: Sequence[Bar]


@dataclass(frozen=True)
class Question:
    """A question and each candidate's p_yes, NaN where there is none."""

    dimension: str
    text: str
    p_yes: Sequence[float]


@dataclass(frozen=True)
class Block:
    """A prompt's part of the page; `number` makes its anchor. `events` are (letter, text); empty text if unknown."""

    number: int
    prompt_id: str
    text: str | None
    events: Sequence[tuple[str, str]]
    cards: Sequence[Card]
    questions: Sequence[Question]

    @property
    def asked_order(self) -> str:
        """The letters of the events in the asked order."""
        return "".join(letter for letter, _ in self.events)


def blocks(
    found: Sequence[Scored], prompts: Mapping[str, Prompt], videos: Videos, most: int
) -> tuple[list[Block], int]:
    """Return the first `most` prompts, in the score files' order, and how many are left out."""
    groups = by_prompt(found)
    shown = list(groups.items())[:most]
    made = [_block(i, name, group, prompts.get(name), videos) for i, (name, group) in enumerate(shown, start=1)]
    return made, len(groups) - len(shown)


def _block(number: int, name: str, group: Sequence[Scored], prompt: Prompt | None, videos: Videos) -> Block:
    ordered = best_first(group)
    cards = [_card(i, each, videos) for i, each in enumerate(ordered, start=1)]
    num_events = max((each.row.events.n for each in ordered if each.row.events), default=0)
    texts = prompt.events if prompt else ()
    return Block(
        number=number,
        prompt_id=name,
        text=prompt.text if prompt else None,
        events=[(letter, texts[i] if i < len(texts) else "") for i, letter in enumerate(letters(num_events))],
        cards=cards,
        questions=_questions([each.row for each in ordered]),
    )


def best_first(group: Sequence[Scored]) -> list[Scored]:
    """Return the videos from the highest reward to the lowest, equal ones by name, then those without a reward."""
    by_name = sorted(group, key=lambda each: (each.generator, each.row.video))
    scored = [each for each in by_name if each.row.scored]
    order = ranked(np.array([each.row.reward for each in scored]))
    return [*(scored[i] for i in order), *(each for each in by_name if not each.row.scored)]


def _card(number: int, each: Scored, videos: Videos) -> Card:
    row = each.row
    bars = [
        Bar(LABELS[name], row.dimensions[name], row.dimension_stds.get(name, math.nan))
        for name in NAMES
        if math.isfinite(row.dimensions.get(name, math.nan))
    ]
    best = number == 1 and row.scored
    return Card(number, best, each.generator, videos.show(each.path, row.video), row, bars)


def _questions(rows: Sequence[ScoreRow]) -> list[Question]:
    """Return all questions that any candidate was asked; the same one asked twice is there twice."""
    asked: dict[tuple[str, str, int], list[float]] = {}
    for place, row in enumerate(rows):
        times: dict[tuple[str, str], int] = {}
        for check in row.questions:
            key = (check.dimension, check.question)
            times[key] = times.get(key, 0) + 1
            asked.setdefault((*key, times[key]), [math.nan] * len(rows))[place] = check.p_yes
    return [Question(LABELS[dimension], text, values) for (dimension, text, _), values in asked.items()]
