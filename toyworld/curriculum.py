"""The lessons as training examples: clips drawn afresh, what their cells show, and questions of every kind."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from reward.frontend import FrontEnd, Prefix
from reward.packed import Asked, PackedBatch, pack_batch, soft_answer, text_answer
from reward.prompts import Check, Prompt
from reward.tokens import AnswerTokens
from reward.video import Clip
from reward.wording import check_text, order_answer, order_text
from toyworld.clips import ToyClip, sample_clip
from toyworld.lessons import CELL_WORDS, cell_words, description, hard_lessons, layout_checks, lessons
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


@dataclass(frozen=True)
class Example:
    """One clip as model input, its questions, and what its cells and its camera show."""

    prefix: Prefix
    asked: tuple[Asked, ...]
    cells: Tensor
    camera: int


class Lessons(IterableDataset[Example]):
    """Endless clips of the world with questions drawn afresh; `stage` chooses how many of which kind.

    A share `augmented` of the clips is blurred, hue-shifted or scaled, all get a little noise; no answer changes.
    """

    def __init__(
        self, front_end: FrontEnd, tokens: AnswerTokens, stage: Stage, *, seed: int, num_frames: int, augmented: float
    ) -> None:
        self.front_end, self.tokens, self.stage, self.seed = front_end, tokens, stage, seed
        self.num_frames, self.augmented = num_frames, augmented
        self.world = World()

    def __iter__(self) -> Iterator[Example]:
        worker = get_worker_info()
        rng = np.random.default_rng([self.seed, STAGES.index(self.stage), worker.id if worker else 0])
        while True:
            yield self.example(rng)

    def example(self, rng: np.random.Generator) -> Example:
        """Draw one clip and its questions."""
        toy = sample_prompt(rng, "toy")
        clip = sample_clip(toy, rng)
        layers = self.world.layers(clip.scene)
        chosen = np.linspace(0, self.world.frames - 1, self.num_frames).round().astype(int)
        pixels = layers.frames
        if self.stage != "align" and rng.random() < self.augmented:
            pixels = _augmented(pixels, rng)
        pixels = add_noise(pixels, float(rng.uniform(1, 6)), rng)[chosen]
        times = self.world.seconds[chosen]
        sampled = Clip(pixels, times, chosen, float(self.world.frames / self.world.fps), self.world.fps, 16)
        prefix = self.front_end.prefix(sampled)
        grid = prefix.grid[1] // self.front_end.merge
        cells = cell_words(self.world, clip, layers, list(chosen), grid)
        pairs = cells.reshape(-1, self.front_end.temporal_patch, grid, grid, len(CELL_WORDS)).max(axis=1)
        asked = () if self.stage == "align" else tuple(self._asked(toy, clip, layers.frames, rng))
        return Example(prefix, asked, torch.tensor(pairs, dtype=torch.float32), CAMERAS.index(clip.scene.camera))

    def _asked(
        self, toy: ToyPrompt, clip: ToyClip, frames: np.ndarray[Any, Any], rng: np.random.Generator
    ) -> Iterator[Asked]:
        easy, hard = lessons(toy, clip, rng), hard_lessons(clip, rng)
        opens = [easy[int(i)] for i in rng.permutation(len(easy))[: 4 if self.stage == "dense" else 2]]
        for lesson in [*opens, *hard]:
            yield self._text(OPEN.replace("{question}", lesson.question), " " + lesson.answer, 0.5)
        if rng.random() < (0.7 if self.stage == "dense" else 0.3):
            yield self._text(DESCRIBE, description(toy, clip), 0.3)
        if self.stage == "dense":
            return
        for check, yes in zip(toy.prompt.checks, clip.checks, strict=True):
            yield self._check(check, yes)
        for check, yes in layout_checks(clip, rng):
            yield self._check(check, yes)
        facts = measure(frames, self.world.seconds)
        yield from self._further_checks(toy, facts, rng)
        if toy.prompt.events:
            yield self._order(toy.prompt.events, clip.order)
            yield self._shuffled_order(toy, clip, rng)

    def _further_checks(self, toy: ToyPrompt, facts: Facts, rng: np.random.Generator) -> Iterator[Asked]:
        """Ask what another prompt would ask, and about something that is not there; the oracle answers."""
        other = sample_prompt(rng, "other")
        renamed = _recast(other, toy, rng)
        checks = [*renamed, absent_check(rng, toy)] if rng.random() < 0.4 else renamed
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


def _recast(other: ToyPrompt, toy: ToyPrompt, rng: np.random.Generator) -> list[Check]:
    """Return another prompt's checks, most of them about this prompt's things."""
    own = [noun for part in toy.plan.parts for noun in part.nouns]
    checks = []
    for check in other.prompt.checks[:3]:
        text = check.question
        for noun in (noun for part in other.plan.parts for noun in part.nouns):
            if rng.random() < 0.8:
                text = text.replace(f"the {noun} ", f"the {own[int(rng.integers(len(own)))]} ")
        checks.append(Check(check.dimension, text))
    return checks


def _augmented(frames: np.ndarray[Any, Any], rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Change a clip in a way that changes no answer."""
    if rng.random() < 0.5:
        frames = blur(frames, float(rng.uniform(0.3, 1.2)))
    if rng.random() < 0.5:
        frames = shift_hue(frames, float(rng.uniform(-11, 11)))
    return halve(frames) if rng.random() < 0.2 else frames


def collate(examples: list[Example]) -> tuple[PackedBatch, Tensor, Tensor]:
    """Return the packed batch, the cells' words (B, cells, words) and the cameras (B,)."""
    batch = pack_batch([(example.prefix, example.asked) for example in examples])
    cells = torch.stack([example.cells.flatten(0, 2) for example in examples])
    return batch, cells, torch.tensor([example.camera for example in examples])
