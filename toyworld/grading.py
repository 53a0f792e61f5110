"""Grade a generated clip by the oracle: is everything there, does it hold together, and is it what was asked?"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reward.answers import letters
from reward.dimensions import EVENT_FOLLOWING
from reward.prompts import Prompt
from toyworld.measure import measure
from toyworld.oracle import MIN_SPARE_FRAMES, Verdict, judge_facts, set_stage
from toyworld.questions import asked_colours
from toyworld.stage import Played

IN_ONE_PIECE = 0.85
"""A thing's largest part is on average at least this share of it."""
FASTEST = (0.25, 0.6)
"""Farthest way between two frames, sideways and up or down, in picture widths: no move of the world is as fast, not
even that of a box which sinks through the floor, in nine frames or more."""

LEAVES_BELOW = 0.55
"""Only below this height may a thing be seen for the last time: on its way through the floor."""


@dataclass(frozen=True)
class Grade:
    """What the oracle says of one clip.

    `object`: every thing that the prompt names is seen. `coherent`: the clip shows exactly these things, each in one
    colour and in one piece, that neither jump nor come and go; one may sink through the floor. `correct`: every check
    is answered Yes and the events happen in the asked order. `dimensions`: share of Yes among a dimension's checks;
    event_following is 1 or 0.
    """

    object: bool
    coherent: bool
    correct: bool
    dimensions: Mapping[str, float]


def grade(prompt: Prompt, frames: npt.NDArray[np.uint8], timestamps: npt.ArrayLike | None = None) -> Grade:
    """Grade a clip (T, H, W, 3) uint8 RGB of a prompt in the toy world's wording.

    An answer that cannot be measured counts as No. Raises InputError for a clip that `measure` refuses.
    """
    facts = measure(frames, timestamps)
    verdict = judge_facts(prompt, facts)
    parts = set_stage(prompt.text, facts).parts
    nouns = asked_colours(prompt.text)
    present = all(noun in parts and parts[noun].frames.sum() >= MIN_SPARE_FRAMES for noun in nouns)
    coherent = present and len(facts.tracks) == len(nouns) and all(_holds_together(parts[noun]) for noun in nouns)
    dimensions = _by_dimension(prompt, verdict)
    return Grade(present, coherent, all(share == 1 for share in dimensions.values()), dimensions)


def _by_dimension(prompt: Prompt, verdict: Verdict) -> dict[str, float]:
    answers: dict[str, list[bool]] = {}
    for check, answer in zip(prompt.checks, verdict.answers, strict=True):
        answers.setdefault(check.dimension, []).append(answer.yes == 1)
    if prompt.events:
        answers[EVENT_FOLLOWING] = [verdict.order == letters(len(prompt.events))]
    return {name: float(np.mean(yes)) for name, yes in answers.items()}


def _holds_together(part: Played) -> bool:
    track = part.track
    frames = np.flatnonzero(track.seen)
    one_colour = bool(part.right_colour[frames].all() or not part.right_colour[frames].any())
    without_a_gap = frames[0] == 0 and frames[-1] - frames[0] == len(frames) - 1
    ways = np.abs(np.diff([track.x[frames], track.y[frames]], axis=1))
    stays = bool(track.seen[-1]) or float(track.y[frames[-1]]) > LEAVES_BELOW
    whole = float(np.mean(track.main_share[frames])) >= IN_ONE_PIECE
    return one_colour and without_a_gap and stays and whole and bool((ways < np.array(FASTEST)[:, None]).all())
