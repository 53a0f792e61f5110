"""Train the tiny base model from nothing: it learns to see the toy world and to talk about it.

A large vision-language model comes pretrained; a tiny one must first learn to see. In this order: every visual token
names what its cell of the picture shows; open questions and descriptions; yes/no questions and event orders. All
questions of a clip share its prefix (reward/packed.py).

    python -m toyworld.pretrain --out toy-base --seed 0
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from reward.errors import InputError
from reward.files import write_json
from reward.frontend import FrontEnd, Pixels
from reward.packed import PackedBatch, packed_loss
from reward.tiny import tiny_model, tiny_tokenizer
from reward.tokens import AnswerTokens, answer_tokens
from reward.wording import CHECK, ORDER
from toyworld.clips import sample_clip
from toyworld.curriculum import OPEN, STAGES, Lessons, collate
from toyworld.lessons import CAMERA_WORDS, CELL_WORDS, description, hard_lessons, lessons
from toyworld.stories import sample_prompt


@dataclass(frozen=True)
class Recipe:
    """What is trained for how long. Stages are numbers of steps; the learning rate falls as a cosine over all."""

    align: int = 500
    dense: int = 500
    both: int = 3000
    seed: int = 0
    batch: int = 8
    lr: float = 2e-3
    num_frames: int = 16
    augmented: float = 0.3

    @property
    def steps(self) -> int:
        """All steps together."""
        return self.align + self.dense + self.both


def toy_tokenizer() -> Any:
    """Train the tokenizer on the world's own texts; the fixed parts of our questions are one token each."""
    rng = np.random.default_rng(0)
    texts = []
    for i in range(400):
        toy = sample_prompt(rng, f"toy-{i}")
        clip = sample_clip(toy, rng)
        texts += [toy.prompt.text, *toy.prompt.events, *(check.question for check in toy.prompt.checks)]
        told = [*lessons(toy, clip, rng), *hard_lessons(clip, rng)]
        texts += [description(toy, clip), *(f"{each.question} {each.answer}" for each in told)]
    tokenizer = tiny_tokenizer(texts, vocabulary=1024)
    fixed = [part for template in (CHECK, ORDER, OPEN) for part in _fixed_parts(template)]
    tokenizer.add_tokens(sorted(set(fixed), key=len, reverse=True))
    return tokenizer


def _fixed_parts(template: str) -> list[str]:
    head, _, tail = template.partition("{")
    return [head, tail.partition("}")[2]]


class CellNamer(nn.Module):
    """Names a visual token's content by its likeness to the word embeddings: scale * cosine - threshold."""

    words: Tensor
    camera_words: Tensor

    def __init__(self, words: Tensor, camera_words: Tensor) -> None:
        super().__init__()
        self.register_buffer("words", words)
        self.register_buffer("camera_words", camera_words)
        self.scale, self.threshold = nn.Parameter(torch.tensor(10.0)), nn.Parameter(torch.tensor(3.0))

    def loss(self, visual: Tensor, embeddings: Tensor, cells: Tensor, cameras: Tensor) -> tuple[Tensor, Tensor]:
        """Return the cells' binary and the cameras' multi-class cross-entropy; `visual` (B, cells, hidden)."""
        unit = nn.functional.normalize(visual, dim=-1)
        words = nn.functional.normalize(embeddings[self.words], dim=-1)
        logits = self.scale * unit @ words.T - self.threshold
        named = nn.functional.binary_cross_entropy_with_logits(logits, cells)
        camera = nn.functional.normalize(embeddings[self.camera_words], dim=-1)
        mean = nn.functional.normalize(visual.mean(dim=1), dim=-1)
        return named, nn.functional.cross_entropy(self.scale * mean @ camera.T, cameras)


def build(recipe: Recipe) -> tuple[Any, Any, FrontEnd, AnswerTokens]:
    """Return the untrained model, its tokenizer, front end and answer tokens."""
    tokenizer = toy_tokenizer()
    model = tiny_model("qwen3_vl", tokenizer, seed=recipe.seed)
    pixels = Pixels(64 * 64, 64 * 64, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    front_end = FrontEnd(model.config, tokenizer, pixels, model.model.get_rope_index)
    return model, tokenizer, front_end, answer_tokens(tokenizer)


def step_loss(
    model: Any, namer: CellNamer, item: tuple[PackedBatch, Tensor, Tensor]
) -> tuple[Tensor, dict[str, float]]:
    """Return the loss of one batch and its parts."""
    batch, cells, cameras = item
    vision = model.model.get_video_features(batch.patches, batch.grids, return_dict=True)
    visual = torch.stack(list(vision.pooler_output))
    named, camera = namer.loss(visual, model.get_input_embeddings().weight, cells, cameras)
    total, parts = named + 0.1 * camera, {"cells": named.item(), "camera": camera.item()}
    if len(batch.rows):
        answers, metrics = packed_loss(model, batch, vision)
        checks = metrics["losses"][batch.weights == 1.0]
        parts |= {"text": answers.item(), "checks": checks.mean().item() if len(checks) else math.nan}
        total = total + answers
    return total, parts


def pretrain(recipe: Recipe, after_step: Callable[[int, str, Mapping[str, float]], None]) -> tuple[Any, Any]:
    """Train the base model and return it, in evaluation mode, with its tokenizer.

    `after_step` is told the step from 1, its stage and its losses: "cells" and "camera", "text" (weighted mean of all
    answers) and "checks" (yes/no questions alone).
    """
    torch.manual_seed(recipe.seed)
    model, tokenizer, front_end, tokens = build(recipe)
    namer = CellNamer(*(_word_ids(front_end, words) for words in (CELL_WORDS, CAMERA_WORDS)))
    parameters = [*model.parameters(), *namer.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=recipe.lr, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _share_of_peak(step, recipe.steps))
    model.train()
    step = 0
    for stage in STAGES:
        settings: dict[str, Any] = {"seed": recipe.seed, "num_frames": recipe.num_frames, "augmented": recipe.augmented}
        drawn = Lessons(front_end, tokens, stage, **settings)
        loader = DataLoader(drawn, recipe.batch, collate_fn=collate, num_workers=1, prefetch_factor=8)
        for item in islice(loader, getattr(recipe, stage)):
            loss, parts = step_loss(model, namer, item)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
            step += 1
            after_step(step, stage, parts)
    return model.eval(), tokenizer


def _word_ids(front_end: FrontEnd, words: Sequence[str]) -> Tensor:
    ids = [front_end.data(f" {word}") for word in words]
    if long := [word for word, each in zip(words, ids, strict=True) if len(each) != 1]:
        raise ValueError(f"the tokenizer splits {', '.join(long)}")
    return torch.tensor([each[0] for each in ids])


def _share_of_peak(step: int, steps: int) -> float:
    """Return the learning rate's share of its peak: 50 steps of warm-up, then a cosine down to a twentieth."""
    warm = min(1.0, (step + 1) / 50)
    return warm * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(step / steps, 1.0))))


@dataclass(frozen=True)
class Options(Recipe):
    """Options of `python -m toyworld.pretrain`."""

    out: Path = Path("toy-base")
    """Folder for the model; it must be new or empty."""
    threads: int = 1
    """Threads of PyTorch; one gives the same weights every time."""


class Log:
    """Prints running means of the losses, and keeps them."""

    def __init__(self, every: int = 50) -> None:
        self.every, self.started = every, time.monotonic()
        self.means: dict[str, float] = {}
        self.lines: list[dict[str, Any]] = []

    def __call__(self, step: int, stage: str, parts: Mapping[str, float]) -> None:
        """Take one step's losses."""
        for name, value in parts.items():
            before = self.means.get(name, math.nan)
            self.means[name] = value if math.isnan(before) else 0.97 * before + 0.03 * value
        if step % self.every == 0:
            minutes = (time.monotonic() - self.started) / 60
            self.lines.append({"step": step, "stage": stage, "minutes": round(minutes, 2), **self.means})
            shown = " ".join(f"{name} {value:.3f}" for name, value in self.means.items())
            print(f"{stage} {step} {minutes:.1f} min {shown}", flush=True)


def main(options: Options) -> None:
    """Train and save."""
    if options.out.exists() and any(options.out.iterdir()):
        raise InputError(f"--out {options.out} is not empty; choose another folder")
    torch.set_num_threads(options.threads)
    log = Log()
    model, tokenizer = pretrain(options, log)
    model.save_pretrained(options.out)
    tokenizer.save_pretrained(options.out)
    recipe = asdict(options) | {"out": str(options.out)}
    write_json(options.out / "pretraining.json", {"recipe": recipe, "log": log.lines})


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Options, description=__doc__, use_underscores=True))
