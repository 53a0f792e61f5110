"""Train the tiny base model from nothing: it learns to see the toy world and to talk about it.

A large vision-language model comes pretrained; a tiny one must first learn to see. In this order: every visual token
names what its cell of the picture shows; open questions and descriptions, while a layer in the middle of the language
model tells what has become of the thing in each cell; yes/no questions and event orders. All questions of a clip share
its prefix (reward/packed.py).

    python -m toyworld.pretrain --out toy-base --seed 0
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from reward.errors import InputError
from reward.files import write_json
from reward.frontend import FrontEnd, Pixels
from reward.packed import packed_loss
from reward.tiny import tiny_model, tiny_tokenizer
from reward.tokens import AnswerTokens, answer_tokens
from reward.video import FrameSampling
from reward.wording import CHECK, ORDER
from toyworld.cells import CELL_WORDS, HISTORY, NUMBER_WORDS
from toyworld.clips import sample_clip
from toyworld.curriculum import OPEN, STAGES, Lessons, Taught, collate
from toyworld.lessons import (
    CAMERA_WORDS,
    absent_lesson,
    binding_lessons,
    depth_lessons,
    description,
    fate_lessons,
    hard_lessons,
    lessons,
    timing_lessons,
)
from toyworld.muon import Muon
from toyworld.stories import sample_prompt


@dataclass(frozen=True)
class Recipe:
    """What is trained for how long. Stages are numbers of steps; the learning rate falls as a cosine over all."""

    align: int = 300
    dense: int = 400
    both: int = 1900
    seed: int = 0
    batch: int = 8
    lr: float = 2e-3
    num_frames: int = 16
    fps: float = 8.0
    augmented: float = 0.3
    begin_from: Path | None = None
    """Folder of an earlier base model to go on from, with a fresh optimiser, instead of random weights."""

    @property
    def steps(self) -> int:
        """All steps together."""
        return self.align + self.dense + self.both

    @property
    def sampling(self) -> FrameSampling:
        """At most `num_frames` frames of a clip, `fps` a second."""
        return FrameSampling(num_frames=self.num_frames, fps=self.fps)


def toy_tokenizer() -> Any:
    """Train the tokenizer on the world's own texts; the fixed parts of our questions are one token each."""
    rng = np.random.default_rng(0)
    texts = []
    for i in range(400):
        toy = sample_prompt(rng, f"toy-{i}")
        clip = sample_clip(toy, rng)
        texts += [toy.prompt.text, *toy.prompt.events, *(check.question for check in toy.prompt.checks)]
        told = [*lessons(toy, clip, rng), *timing_lessons(toy, clip), *hard_lessons(clip, rng), *binding_lessons(clip)]
        told += [*depth_lessons(clip), *fate_lessons(clip), absent_lesson(toy, rng)]
        texts += [description(toy, clip), *(f"{each.question} {each.answer}" for each in told)]
    texts += [f"{word}, {word}" for word in (*CELL_WORDS, *NUMBER_WORDS, *CAMERA_WORDS)] * 20
    tokenizer = tiny_tokenizer(texts, vocabulary=1024)
    fixed = [part for template in (CHECK, ORDER, OPEN) for part in _fixed_parts(template)]
    tokenizer.add_tokens(sorted(set(fixed), key=len, reverse=True))
    return tokenizer


def _fixed_parts(template: str) -> list[str]:
    head, _, tail = template.partition("{")
    return [head, tail.partition("}")[2]]


class Namer(nn.Module):
    """Names what visual tokens show, and what the language model knows of the things in them.

    A visual token's content is read by its likeness to the word embeddings, scale * cosine - threshold; the history
    by a linear map from the language model's hidden states.
    """

    words: Tensor
    camera_words: Tensor

    def __init__(self, words: Tensor, camera_words: Tensor, hidden: int) -> None:
        super().__init__()
        self.register_buffer("words", words)
        self.register_buffer("camera_words", camera_words)
        self.scale, self.threshold = nn.Parameter(torch.tensor(10.0)), nn.Parameter(torch.tensor(3.0))
        self.history = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, len(HISTORY)))

    def naming_losses(self, visual: Tensor, embeddings: Tensor, clip: Taught) -> tuple[Tensor, Tensor]:
        """Return the cells' binary and the camera's multi-class cross-entropy; `visual` (V, hidden)."""
        unit = nn.functional.normalize(visual, dim=-1)
        words = nn.functional.normalize(embeddings[self.words], dim=-1)
        logits = self.scale * unit @ words.T - self.threshold
        named = nn.functional.binary_cross_entropy_with_logits(logits, clip.cells)
        camera = nn.functional.normalize(embeddings[self.camera_words], dim=-1)
        seen = self.scale * nn.functional.normalize(visual.mean(dim=0), dim=-1) @ camera.T
        return named, nn.functional.cross_entropy(seen, clip.camera)

    def history_loss(self, hidden: Tensor, clip: Taught) -> Tensor:
        """Return the binary cross-entropy of the histories; `hidden` (V, hidden)."""
        return nn.functional.binary_cross_entropy_with_logits(self.history(hidden), clip.history)


def build(recipe: Recipe) -> tuple[Any, Any, FrontEnd, AnswerTokens]:
    """Return the model before training, its tokenizer, front end and answer tokens."""
    if recipe.begin_from is not None:
        from transformers import AutoModelForImageTextToText, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(recipe.begin_from, local_files_only=True)
        model = AutoModelForImageTextToText.from_pretrained(recipe.begin_from, local_files_only=True)
    else:
        tokenizer = toy_tokenizer()
        model = tiny_model("qwen3_vl", tokenizer, seed=recipe.seed)
    pixels = Pixels(64 * 64, 64 * 64, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    front_end = FrontEnd(model.config, tokenizer, pixels, model.model.get_rope_index)
    return model, tokenizer, front_end, answer_tokens(tokenizer)


LOSS_WEIGHTS = {"cells": 1.0, "camera": 0.1, "history": 4.0, "text": 1.0}
"""The means of the dense losses run over many labels that are nearly all 0."""


def clip_losses(model: Any, namer: Namer, clip: Taught) -> tuple[dict[str, Tensor], Tensor]:
    """Return one clip's mean losses, those of LOSS_WEIGHTS that it has, and those of its yes/no questions (K,)."""
    packed = clip.packed
    vision = model.model.get_video_features(packed.patches, packed.grids, return_dict=True)
    named, camera = namer.naming_losses(torch.cat(vision.pooler_output), model.get_input_embeddings().weight, clip)
    losses = {"cells": named, "camera": camera}
    if not len(packed.rows):
        return losses, torch.zeros(0)
    with _outputs_of(_middle_layer(model)) as outputs:
        losses["text"], metrics = packed_loss(model, packed, vision)
    if not clip.frozen:
        losses["history"] = namer.history_loss(outputs[0][packed.ids == model.config.video_token_id], clip)
    return losses, metrics["losses"][packed.weights == 1.0]


def learn(model: Any, namer: Namer, clips: Sequence[Taught]) -> dict[str, float]:
    """Add the gradient of a batch, clip by clip, and return its mean losses.

    A small clip at a time stays in the processor's cache and needs no padding; its losses count in the batch's mean by
    how much the clip holds of them.
    """
    amounts = [clip.amounts() for clip in clips]
    totals = {name: sum(each[name] for each in amounts) for name in LOSS_WEIGHTS}
    means = {name: 0.0 for name, total in totals.items() if total}
    checks = []
    for clip, amount in zip(clips, amounts, strict=True):
        losses, of_checks = clip_losses(model, namer, clip)
        shares = {name: amount[name] / totals[name] for name in losses}
        torch.stack([LOSS_WEIGHTS[name] * shares[name] * loss for name, loss in losses.items()]).sum().backward()
        for name, loss in losses.items():
            means[name] += shares[name] * loss.item()
        checks.append(of_checks)
    asked = torch.cat(checks)
    return means | ({"checks": asked.mean().item()} if len(asked) else {})


def _middle_layer(model: Any) -> nn.Module:
    layers = model.model.language_model.layers
    middle: nn.Module = layers[len(layers) // 2 - 1]
    return middle


@contextmanager
def _outputs_of(module: nn.Module) -> Iterator[list[Tensor]]:
    """Collect what a module returns."""
    outputs: list[Tensor] = []
    handle = module.register_forward_hook(lambda _, __, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()


AfterStep = Callable[[int, str, Mapping[str, float], Any, Any], None]


def pretrain(recipe: Recipe, after_step: AfterStep) -> tuple[Any, Any]:
    """Train the base model and return it, in evaluation mode, with its tokenizer.

    `after_step` is told the step from 1, its stage, its losses, the model and the tokenizer. The losses are "cells" and
    "camera", "history", "text" (weighted mean of all answers) and "checks" (yes/no questions alone).
    """
    torch.manual_seed(recipe.seed)
    model, tokenizer, front_end, tokens = build(recipe)
    words, camera_words = (_word_ids(front_end, words) for words in (CELL_WORDS, CAMERA_WORDS))
    namer = Namer(words, camera_words, model.config.text_config.hidden_size)
    parameters = [*model.parameters(), *namer.parameters()]
    optimizers = _optimizers(model, namer, recipe.lr)
    schedules = [LambdaLR(each, lambda step: _share_of_peak(step, recipe.steps)) for each in optimizers]
    model.train()
    step = 0
    for stage in STAGES:
        settings: dict[str, Any] = {"seed": recipe.seed, "sampling": recipe.sampling, "augmented": recipe.augmented}
        drawn = Lessons(front_end, tokens, stage, **settings)
        loader = DataLoader(drawn, recipe.batch, collate_fn=collate, num_workers=1, prefetch_factor=4)
        for clips in islice(loader, getattr(recipe, stage)):
            parts = learn(model, namer, clips)
            nn.utils.clip_grad_norm_(parameters, 1.0)
            for optimizer, schedule in zip(optimizers, schedules, strict=True):
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                schedule.step()
            step += 1
            after_step(step, stage, parts, model, tokenizer)
    return model.eval(), tokenizer


def _optimizers(model: Any, namer: Namer, lr: float) -> tuple[Optimizer, Optimizer]:
    """Return Muon for the matrices of the model's layers, AdamW for embeddings, convolutions, vectors and the namer."""
    named = dict(model.named_parameters())
    matrices = {name for name, each in named.items() if each.ndim == 2 and "embed" not in name}
    others = [each for name, each in named.items() if name not in matrices]
    adam = torch.optim.AdamW([*others, *namer.parameters()], lr=lr, betas=(0.9, 0.98), weight_decay=0.01)
    return Muon([named[name] for name in sorted(matrices)], lr=lr), adam


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
    save_every: int = 500
    """Steps after which the model so far is saved, for a look; the run itself does not go on from it."""
    threads: int = 1
    """Threads of PyTorch; one gives the same weights every time."""


class Log:
    """Prints running means of the losses, keeps them, and saves the model now and then."""

    def __init__(self, options: "Options", every: int = 50) -> None:
        self.options, self.every, self.started = options, every, time.monotonic()
        self.means: dict[str, float] = {}
        self.lines: list[dict[str, Any]] = []

    def __call__(self, step: int, stage: str, parts: Mapping[str, float], model: Any, tokenizer: Any) -> None:
        """Take one step's losses."""
        for name, value in parts.items():
            before = self.means.get(name, math.nan)
            self.means[name] = value if math.isnan(before) else 0.97 * before + 0.03 * value
        if step % self.every == 0:
            minutes = (time.monotonic() - self.started) / 60
            self.lines.append({"step": step, "stage": stage, "minutes": round(minutes, 2), **self.means})
            shown = " ".join(f"{name} {value:.3f}" for name, value in self.means.items())
            left = minutes / step * (self.options.steps - step)
            print(f"{stage} {step}/{self.options.steps} {minutes:.1f} min, {left:.0f} left: {shown}", flush=True)
        if step % self.options.save_every == 0:
            self.save(model, tokenizer)

    def save(self, model: Any, tokenizer: Any) -> None:
        """Save the model, its tokenizer and what is known of its training."""
        out = self.options.out
        model.save_pretrained(out)
        tokenizer.save_pretrained(out)
        recipe = {
            name: str(value) if isinstance(value, Path) else value for name, value in asdict(self.options).items()
        }
        write_json(out / "pretraining.json", {"recipe": recipe, "log": self.lines})


def main(options: Options) -> None:
    """Train and save."""
    if options.out.exists() and any(options.out.iterdir()):
        raise InputError(f"--out {options.out} is not empty; choose another folder")
    torch.set_num_threads(options.threads)
    log = Log(options)
    log.save(*pretrain(options, log))


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Options, description=__doc__, use_underscores=True))
