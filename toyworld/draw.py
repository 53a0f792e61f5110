"""Draw prompts and clips for a whole set, with Yes as often as No in every dimension."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from reward.answers import letters
from reward.dimensions import EVENT_FOLLOWING
from toyworld.clips import ToyClip, sample_clip
from toyworld.plan import ToyPrompt
from toyworld.stories import absent_check, sample_prompt

DRAWS = 8
"""Clips drawn for one that is kept: the one that brings the Yes-rates nearest to a half."""


@dataclass(frozen=True)
class Drawn:
    """One clip of one prompt; `candidate` counts the prompt's clips from 0."""

    toy_prompt: ToyPrompt
    candidate: int
    clip: ToyClip


def draw(num: int, seed: int, candidates: int = 1, prefix: str = "toy", absent: int = 0) -> Iterator[Drawn]:
    """Draw the clips of the prompts <prefix>-000000, ...; the first prompts are the same whatever `num`.

    Each dimension's Yes-rate stays within a few questions of a half, also where a dimension is asked seldom; event
    following counts as Yes where the events happen exactly as asked. The `absent` further questions about things that
    are not there come on top: No in every clip.
    """
    surplus: Counter[str] = Counter()
    for index in range(num):
        toy_prompt = sample_prompt(np.random.default_rng([seed, index]), f"{prefix}-{index:06d}")
        for candidate in range(candidates):
            rng = np.random.default_rng([seed, index, candidate + 1])
            clips = [sample_clip(toy_prompt, rng) for _ in range(DRAWS)]
            clip = min(clips, key=lambda clip: _imbalance(surplus, answers_by_dimension(toy_prompt, clip)))
            surplus.update(answers_by_dimension(toy_prompt, clip))
            yield _ask_of_absent(Drawn(toy_prompt, candidate, clip), absent, np.random.default_rng([seed, index, 0]))


def _ask_of_absent(drawn: Drawn, count: int, rng: np.random.Generator) -> Drawn:
    prompt, clip = drawn.toy_prompt.prompt, drawn.clip
    checks = list(prompt.checks)
    while len(checks) < len(prompt.checks) + count:
        check = absent_check(rng, drawn.toy_prompt)
        checks += [check] if check not in checks else []
    asked = replace(prompt, checks=tuple(checks))
    truth = replace(clip, checks=(*clip.checks, *[False] * count))
    return replace(drawn, toy_prompt=replace(drawn.toy_prompt, prompt=asked), clip=truth)


def answers_by_dimension(toy_prompt: ToyPrompt, clip: ToyClip) -> Counter[str]:
    """Return how many more answers are Yes than No, per dimension."""
    prompt = toy_prompt.prompt
    surplus: Counter[str] = Counter()
    for check, yes in zip(prompt.checks, clip.checks, strict=True):
        surplus[check.dimension] += 1 if yes else -1
    if prompt.events:
        surplus[EVENT_FOLLOWING] += 1 if clip.order == letters(len(prompt.events)) else -1
    return surplus


def _imbalance(surplus: Counter[str], more: Counter[str]) -> int:
    return sum((surplus[name] + change) ** 2 for name, change in more.items())
