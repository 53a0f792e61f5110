"""Clips for the generator to learn from: a known share does all that its prompt asks, the rest has a fault or two."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from toyworld.clips import Deviations, ToyClip, as_asked, stage_clip
from toyworld.plan import Plan, ToyPrompt
from toyworld.repertoire import KINDS, WORLD, Kind, Known, repertoire

WEIGHTS: dict[Kind, float] = {"move": 0.14, "two_moves": 0.22, "drop": 0.1, "rise": 0.1, "bounce": 0.1, "duo": 0.34}
"""How often each kind of scene is drawn."""
SECOND_FAULT = 0.2
"""How often a clip with a fault has a second one."""
OPPOSITE = 0.7
"""How often a single missing event is replaced by its reverse, instead of by nothing."""


@dataclass(frozen=True)
class Example:
    """A clip with the prompt that it was drawn for."""

    known: Known
    clip: ToyClip
    frames: npt.NDArray[np.uint8]


def faulty(plan: Plan, rng: np.random.Generator) -> Deviations:
    """Draw one fault, seldom two, each kind that the plan admits as often as any other."""
    faults = _faults(plan)
    count = 1 + int(len(faults) > 1 and rng.random() < SECOND_FAULT)
    deviations = as_asked(plan)
    for index in rng.permutation(len(faults))[:count]:
        deviations = _with_fault(deviations, faults[int(index)], rng)
    return deviations


def _faults(plan: Plan) -> list[str]:
    asked = {question.template for question in plan.questions}
    faults = ["colour", "missing"]
    faults += ["mirrored"] if asked & {"half", "beside"} else []
    faults += ["swapped"] if len(plan.events) > 1 else []
    return faults + [f"act {question.part}" for question in plan.questions if question.part >= 0]


def _with_fault(deviations: Deviations, fault: str, rng: np.random.Generator) -> Deviations:
    starts = list(deviations.starts)
    if fault == "colour":
        return replace(deviations, strange_colour=True)
    if fault == "mirrored":
        return replace(deviations, mirrored=True)
    if fault == "swapped":
        return replace(deviations, starts=tuple(starts[::-1]))
    if fault == "missing":
        starts[int(rng.integers(len(starts)))] = float("nan")
        return replace(deviations, starts=tuple(starts), opposite=bool(rng.random() < OPPOSITE))
    part = int(fault.removeprefix("act "))
    return replace(deviations, as_asked=tuple(yes and i != part for i, yes in enumerate(deviations.as_asked)))


def sample_clip(toy_prompt: ToyPrompt, rng: np.random.Generator, faithful_share: float) -> ToyClip:
    """Draw a clip of a prompt, faithful with probability `faithful_share`."""
    faithful = rng.random() < faithful_share
    deviations = as_asked(toy_prompt.plan) if faithful else faulty(toy_prompt.plan, rng)
    return stage_clip(toy_prompt, deviations, rng)


def examples(rng: np.random.Generator, faithful_share: float) -> Iterator[Example]:
    """Draw prompts by the weight of their kind, and a clip of each, without end."""
    by_kind: dict[Kind, Sequence[Known]] = {
        kind: [known for known in repertoire() if known.kind == kind] for kind in KINDS
    }
    shares = [WEIGHTS[kind] for kind in KINDS]
    while True:
        kind = KINDS[int(rng.choice(len(KINDS), p=shares))]
        known = by_kind[kind][int(rng.integers(len(by_kind[kind])))]
        clip = sample_clip(known.toy_prompt, rng, faithful_share)
        yield Example(known, clip, WORLD.render(clip.scene))
