"""The lessons as training examples: clips drawn afresh, what their cells show, and questions of every kind."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from reward.answers import letters
from reward.frontend import FrontEnd, Prefix
from reward.packed import Asked, PackedBatch, pack_batch, soft_answer, text_answer
from reward.prompts import Check, Prompt
from reward.tokens import AnswerTokens
from reward.video import Clip, FrameSampling
from reward.wording import NONE, ORDER, check_text, order_answer, order_text
from toyworld.cells import HISTORY, cell_history, cell_words, moment_word
from toyworld.clips import ToyClip, sample_clip
from toyworld.further_checks import colour_checks, layout_checks, near_misses, thing_checks
from toyworld.lessons import (
    absent_lesson,
    binding_lessons,
    depth_lessons,
    description,
    fate_lessons,
    hard_lessons,
    lessons,
    strange_lessons,
    timing_lessons,
)
from toyworld.measure import Facts, measure
from toyworld.oracle import judge_facts
from toyworld.perturb import add_noise, blur, halve, shift_hue
from toyworld.plan import ToyPrompt
from toyworld.scene import CAMERAS
from toyworld.stories import absent_check, sample_prompt
from toyworld.world import World

Stage = Literal["align", "dense", "both"]
STAGES: tuple[Stage, ...] = ("align", "dense", "both")
"""See first; then answer open questions and describe; then yes/no questions and event orders as well."""

OPEN = "Look at the video and answer the question.\nQuestion: {question}\nAnswer in a few words."
DESCRIBE = "Describe the video."
EVENTS = ORDER.partition("Which")[0]
"""How the question about the order begins, for others about the same list of events."""


@dataclass(frozen=True)
class Example:
    """One clip as model input, its questions, and what its cells (cells, words) and its camera show.

    `history` (cells, HISTORY) tells what has become of the things; NaN for a frozen clip, which has none to tell.
    """

    prefix: Prefix
    asked: tuple[Asked, ...]
    cells: Tensor
    history: Tensor
    camera: int


WORLDS = (World(), World(size=32, frames=9))
"""The clips that are made by default, and the small short ones of a tiny generator."""
SMALL, FROZEN = 0.3, 0.05
"""Shares of small clips, and of clips in which nothing ever moves."""


class Lessons(IterableDataset[Example]):
    """Endless clips of the world with questions drawn afresh; `stage` chooses how many of which kind.

    A share `augmented` of the clips is blurred, hue-shifted or scaled, all get a little noise; no answer changes.
    """

    def __init__(
        self,
        front_end: FrontEnd,
        tokens: AnswerTokens,
        stage: Stage,
        *,
        seed: int,
        sampling: FrameSampling,
        augmented: float,
    ) -> None:
        self.front_end, self.tokens, self.stage, self.seed = front_end, tokens, stage, seed
        self.sampling, self.augmented = sampling, augmented

    def __iter__(self) -> Iterator[Example]:
        worker = get_worker_info()
        rng = np.random.default_rng([self.seed, STAGES.index(self.stage), worker.id if worker else 0])
        while True:
            yield self.example(rng)

    def example(self, rng: np.random.Generator) -> Example:
        """Draw one clip and its questions."""
        toy = sample_prompt(rng, "toy")
        clip = sample_clip(toy, rng)
        world = WORLDS[1 if rng.random() < SMALL else 0]
        layers = world.layers(clip.scene)
        frozen = self.stage == "both" and rng.random() < FROZEN
        chosen = self.sampling.choose(world.seconds, 0.0)
        shown = np.full_like(chosen, rng.integers(world.frames)) if frozen else chosen
        pixels = layers.frames
        if self.stage != "align" and rng.random() < self.augmented:
            pixels = _augmented(pixels, rng)
        pixels = add_noise(pixels, float(rng.uniform(1, 6)), rng)[shown]
        prefix = self.front_end.prefix(
            Clip(pixels, world.seconds[chosen], chosen, world.frames / world.fps, world.fps, world.frames)
        )
        grid = prefix.grid[1] // self.front_end.merge
        if frozen:
            facts = measure(np.repeat(layers.frames[shown[:1]], world.frames, axis=0), world.seconds)
            asked = tuple(self._frozen_checks(toy, facts, rng))
            history = np.full((len(shown), grid, grid, len(HISTORY)), np.nan)
        else:
            asked = () if self.stage == "align" else tuple(self._asked(toy, clip, (world, layers.frames), rng))
            history = cell_history(world, clip, layers, list(shown), grid)
        return Example(
            prefix,
            asked,
            self._cells(cell_words(world, clip, layers, list(shown), grid)),
            self._cells(history),
            0 if frozen else CAMERAS.index(clip.scene.camera),
        )

    def _cells(self, by_frame: np.ndarray[Any, Any]) -> Tensor:
        """Return (frames, grid, grid, K) as (visual tokens, K): a token shows what any of its frames shows."""
        size = self.front_end.temporal_patch
        last = np.repeat(by_frame[-1:], -len(by_frame) % size, axis=0)
        spans = np.concatenate([by_frame, last]).reshape(-1, size, *by_frame.shape[1:])
        return torch.tensor(spans.max(axis=1).reshape(-1, by_frame.shape[-1]), dtype=torch.float32)

    def _asked(
        self, toy: ToyPrompt, clip: ToyClip, drawn: tuple[World, np.ndarray[Any, Any]], rng: np.random.Generator
    ) -> Iterator[Asked]:
        dense = self.stage == "dense"
        told = [*lessons(toy, clip, rng), *hard_lessons(clip, rng)]
        some = [told[int(index)] for index in rng.permutation(len(told))[: 6 if dense else 3]]
        always = [*binding_lessons(clip), *timing_lessons(toy, clip), *depth_lessons(clip)]
        always += [*strange_lessons(clip), *fate_lessons(clip)]
        for lesson in [*always, absent_lesson(toy, rng), *some]:
            yield self._text(OPEN.replace("{question}", lesson.question), " " + lesson.answer, 0.5)
        if rng.random() < (0.5 if dense else 0.1):
            yield self._text(DESCRIBE, description(toy, clip), 0.3)
        if dense:
            return
        for check, yes in zip(toy.prompt.checks, clip.checks, strict=True):
            yield self._check(check, yes)
        for check, yes in [*layout_checks(clip, rng), *colour_checks(clip, rng)]:
            yield self._check(check, yes)
        world, frames = drawn
        yield from self._further_checks(toy, clip, measure(frames, world.seconds), rng)
        if toy.prompt.events:
            yield self._order(toy.prompt.events, clip.order)
        if len(toy.prompt.events) > 1:
            yield self._shuffled_order(toy, clip, rng)
            yield from self._moments(toy, clip, rng)

    def _moments(self, toy: ToyPrompt, clip: ToyClip, rng: np.random.Generator) -> Iterator[Asked]:
        """Ask of the listed events when each begins and which of them is first: what an order is made of."""
        shuffled = [int(i) for i in rng.permutation(len(toy.prompt.events))]
        events = tuple(toy.prompt.events[i] for i in shuffled)
        starts = [clip.scene.event_starts[i] for i in shuffled]
        listed = EVENTS.replace(
            "{events}", "\n".join(f"{a}: {b}" for a, b in zip(letters(len(events)), events, strict=True))
        )
        times = " ".join("never" if math.isnan(start) else moment_word(start) for start in starts)
        yield self._text(f"{listed}When does each of them begin?", f" {times}", 0.5)
        known = [start for start in starts if not math.isnan(start)]
        first = letters(len(events))[starts.index(min(known))] if known else NONE
        yield self._text(f"{listed}Which of them happens first?", first, 0.8)

    def _frozen_checks(self, toy: ToyPrompt, facts: Facts, rng: np.random.Generator) -> Iterator[Asked]:
        """Ask the prompt's own questions about a clip in which nothing moves; the oracle answers."""
        checks = (*toy.prompt.checks, absent_check(rng, toy))
        answers = judge_facts(Prompt("p", toy.prompt.text, (), checks), facts).answers
        for check, answer in zip(checks, answers, strict=True):
            if not math.isnan(answer.yes):
                yield self._check(check, bool(answer.yes))
        if toy.prompt.events:
            yield self._order(toy.prompt.events, "")

    def _further_checks(self, toy: ToyPrompt, clip: ToyClip, facts: Facts, rng: np.random.Generator) -> Iterator[Asked]:
        """Ask more of the things there, near misses, and about what is not there; the oracle answers."""
        checks = [*thing_checks(clip, rng), *near_misses(toy, rng), *(absent_check(rng, toy) for _ in range(2))]
        answers = judge_facts(Prompt("p", toy.prompt.text, (), tuple(checks)), facts).answers
        for check, answer in zip(checks, answers, strict=True):
            if not math.isnan(answer.yes):
                yield self._check(check, bool(answer.yes))

    def _check(self, check: Check, yes: bool) -> Asked:
        question = self.front_end.question(check_text(check.question))
        return soft_answer(question, self.tokens.yes[0], self.tokens.no[0], float(yes))

    def _order(self, events: tuple[str, ...], letters: str) -> Asked:
        answer = [*self.front_end.data(order_answer(letters)), self.tokens.stop]
        return text_answer(self.front_end.question(order_text(events)), answer, 0.8)

    def _shuffled_order(self, toy: ToyPrompt, clip: ToyClip, rng: np.random.Generator) -> Asked:
        """Ask for the same events under other letters."""
        shuffled = [int(i) for i in rng.permutation(len(toy.prompt.events))]
        events = tuple(toy.prompt.events[i] for i in shuffled)
        names = {chr(ord("A") + old): chr(ord("A") + new) for new, old in enumerate(shuffled)}
        return self._order(events, "".join(names[letter] for letter in clip.order))

    def _text(self, question: str, answer: str, weight: float) -> Asked:
        ids = [*self.front_end.data(answer), self.tokens.stop]
        return text_answer(self.front_end.question(question), ids, weight)


def _augmented(frames: np.ndarray[Any, Any], rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Change a clip in a way that changes no answer."""
    if rng.random() < 0.5:
        frames = blur(frames, float(rng.uniform(0.3, 1.2)))
    if rng.random() < 0.5:
        frames = shift_hue(frames, float(rng.uniform(-11, 11)))
    return halve(frames) if rng.random() < 0.2 else frames


@dataclass(frozen=True)
class Taught:
    """One clip packed with its questions, and of its V visual tokens `cells` (V, words) and `history` (V, HISTORY)."""

    packed: PackedBatch
    cells: Tensor
    history: Tensor
    camera: Tensor

    @property
    def frozen(self) -> bool:
        """Whether nothing moves, so that there is no history to tell."""
        return bool(self.history.isnan().any())

    def amounts(self) -> dict[str, float]:
        """Return how much of each loss the clip holds: what its mean is weighted with among other clips'."""
        tokens = float(len(self.cells))
        text = float(self.packed.weights.sum())
        return {"cells": tokens, "camera": 1.0, "history": 0.0 if self.frozen or not text else tokens, "text": text}


def collate(examples: list[Example]) -> list[Taught]:
    """Return the examples of a batch, each packed by itself: nothing is padded to the longest of them."""
    return [
        Taught(pack_batch([(each.prefix, each.asked)]), each.cells, each.history, torch.tensor(each.camera))
        for each in examples
    ]
