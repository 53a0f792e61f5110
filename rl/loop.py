"""The training loop that dpo, rwr and nft share. What an algorithm does in a step stands in its own file.

    for step in run.steps():
        for batch in run.batches(len(data)):
            run.backward(*loss(batch), what=names)
        run.update()

Several processes: every one computes its samples' gradients, `update` averages them. DistributedDataParallel is not
used: policy, reference and old policy are one module in one step, which its hooks do not suit.
"""

import math
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from reward.errors import InputError, WorldcriticError
from reward.progress import Progress
from rl.checkpoints import last_checkpoint, load_checkpoint, save_checkpoint
from rl.draws import derived_seed, item_at
from rl.generator import Condition, Generator
from rl.judging import Judge
from rl.logs import Log
from rl.options import Options
from rl.weights import AdapterWeights

TRIED_STEPS = 2
"""Steps that a dry run tries; the second one is timed, the first one warms up."""


class TrainingError(WorldcriticError):
    """Training cannot go on: a loss or a gradient that is no number, or no reward at all."""


@dataclass(frozen=True)
class Batch:
    """Samples of one forward pass: their positions in the run, and which item is at each."""

    positions: tuple[int, ...]
    items: tuple[int, ...]


class Run:
    """A generator with an adapter in training, and everything that is saved and resumed.

    `step` counts finished optimiser steps. `extra` are further vectors of the adapter's size that belong to the state.
    """

    def __init__(
        self,
        config: Options,
        generator: Generator,
        accelerator: Any,
        *,
        judge: Judge | None = None,
        extra: Sequence[str] = (),
        dry: bool = False,
    ) -> None:
        self.config, self.generator, self.accelerator, self.judge = config, generator, accelerator, judge
        alpha = config.lora_alpha or 2 * config.lora_r
        self.weights = AdapterWeights(
            generator.add_lora(config.lora_r, alpha, config.lora_targets, seed=derived_seed("lora", config.seed))
        )
        if config.gradient_checkpointing:
            generator.enable_gradient_checkpointing()
        self.optimiser = torch.optim.AdamW([self.weights.vector], lr=config.lr, weight_decay=config.weight_decay)
        self.ema = self.weights.copy() if config.ema else None
        self.extra = {name: self.weights.copy() for name in extra}
        self.step, self.stopped, self.dry = 0, False, dry
        self.seconds_per_step = math.nan
        self._metrics: dict[str, list[float]] = defaultdict(list)
        self._norm = math.nan
        if config.resume and not dry:
            self._resume()
        self._log = None if dry or not accelerator.is_main_process else Log(config.out, self.step, accelerator)

    # The loop

    def steps(self) -> Iterator[int]:
        """Yield the number of each step, from 0 or where the run left off; log, judge and save after each."""
        total = TRIED_STEPS if self.dry else self.config.steps
        self._judge(total)
        quiet = self.dry or not self.accelerator.is_main_process
        with Progress(total - self.step, "training", quiet=quiet) as progress:
            while self.step < total and not self.stopped:
                started = time.perf_counter()
                yield self.step
                self.seconds_per_step = time.perf_counter() - started
                self.step += 1
                self._finish(total)
                progress.advance()
        if not self.dry:
            self._save_last()

    def batches(self, count: int) -> Iterator[Batch]:
        """Yield this process's batches of the step, out of `count` items; none where there is no item."""
        if not count:
            return
        per_process = self.config.batch_size * self.config.accumulate
        start = self.step * self.samples_per_step + self.accelerator.process_index * per_process
        for first in range(start, start + per_process, self.config.batch_size):
            positions = tuple(range(first, first + self.config.batch_size))
            yield Batch(positions, tuple(item_at(position, count, self.config.seed) for position in positions))

    def draw(self, batch: Batch, latent_shape: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return times (B,) and noise (B, ...) of a batch on the generator's device; by position, not by batch."""
        times, noise = [], []
        for position in batch.positions:
            rng = torch.Generator().manual_seed(derived_seed("noise", self.config.seed, position))
            times.append(self.draw_times(1, rng))
            noise.append(torch.randn(1, *latent_shape, generator=rng))
        device = self.generator.device
        return torch.cat(times).to(device), torch.cat(noise).to(device)

    def draw_times(self, count: int, rng: torch.Generator) -> Tensor:
        """Return training times (count,), by the options."""
        config = self.config
        return self.generator.draw_times(
            count, rng, distribution=config.time_distribution, mean=config.time_mean, std=config.time_std,
            shift=config.shift,
        )  # fmt: skip

    def predict(self, noisy: Tensor, times: Tensor, conditions: Sequence[Condition]) -> Tensor:
        """Return the generator's prediction without guidance; an embedded guidance is that of the sampler."""
        guidance = self.generator.sampling.guidance if self.generator.embeds_guidance else 1.0
        return self.generator.predict(noisy, times, conditions, guidance)

    def backward(self, loss: Tensor, metrics: Mapping[str, Tensor | float], what: Sequence[str]) -> None:
        """Add a batch's gradient; `what` names its samples, for the error if the loss is no number."""
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(
                f"loss of step {self.step + 1} is {value}; batch: {', '.join(what)}; "
                "lower --lr or look at these samples"
            )
        (loss / self.config.accumulate).backward()
        self.note({"loss": value, **metrics})

    def note(self, metrics: Mapping[str, Tensor | float]) -> None:
        """Add metrics to the step's log row, which holds their means; NaN says that there is none and is left out."""
        for name, metric in metrics.items():
            self._metrics[name].append(float(metric))

    def update(self) -> None:
        """Average gradients over processes, clip, step, and move the average of the weights."""
        if self.accelerator.num_processes > 1:
            self.weights.gradient.copy_(self.accelerator.reduce(self.weights.gradient, reduction="mean"))
        self._norm = float(torch.nn.utils.clip_grad_norm_([self.weights.vector], self.config.max_grad_norm))
        if not math.isfinite(self._norm):
            raise TrainingError(f"gradient of step {self.step + 1} is {self._norm}; lower --lr, or train in float32")
        self.weights.check_gradients()
        self.optimiser.param_groups[0]["lr"] = self.lr
        self.optimiser.step()
        self.weights.gradient.zero_()
        if self.ema is not None:
            decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
            self.ema.lerp_(self.weights.vector.detach(), 1 - decay)

    @property
    def lr(self) -> float:
        """The learning rate of the present step."""
        config = self.config
        share = min(1.0, (self.step + 1) / (config.warmup + 1))
        if config.decay == "linear":
            share *= 1 - self.step / config.steps
        return config.lr * share

    @property
    def samples_per_step(self) -> int:
        """Samples of all processes and batches in one step."""
        return int(self.config.batch_size * self.config.accumulate * self.accelerator.num_processes)

    # After a step

    def _finish(self, total: int) -> None:
        if self.dry:
            return
        self._write_row()
        self._judge(total)
        if self.step % self.config.save_every == 0 or self.step == total or self.stopped:
            self._save()

    def _write_row(self) -> None:
        known = {name: [v for v in values if not math.isnan(v)] for name, values in self._metrics.items()}
        row = {name: sum(values) / len(values) for name, values in known.items() if values}
        self._metrics.clear()
        if self.accelerator.num_processes > 1:
            row = self._averaged(row)
        if self._log is not None:
            times = {"seconds": self.seconds_per_step}
            self._log.write({"step": self.step, **row, "grad_norm": self._norm, "lr": self._used_lr, **times})
        self._norm = math.nan

    @property
    def _used_lr(self) -> float:
        return float(self.optimiser.param_groups[0]["lr"])

    def _averaged(self, row: Mapping[str, float]) -> dict[str, float]:
        """Return the mean of each metric over the processes that have it."""
        from accelerate.utils import gather_object

        rows: list[Mapping[str, float]] = gather_object([dict(row)])
        names = dict.fromkeys(name for each in rows for name in each)
        return {
            name: sum(each[name] for each in rows if name in each) / sum(name in each for each in rows)
            for name in names
        }

    def _judge(self, total: int) -> None:
        """Judge at the start, every so many steps and at the end, unless a resumed run already has."""
        if self.judge is None or self.dry or self.judge.is_judged(self.step):
            return
        if self.step not in (0, total) and self.step % self.config.judge_every:
            return
        with self.weights.holding(self.saved_weights):
            alarms = self.judge.measure(self.generator, self.step, self.accelerator)
            if self.judge.is_best(self.step) and self.accelerator.is_main_process:
                self.generator.save_lora(self.config.out / "best")
        self.stopped = bool(alarms) and self.config.on_hacking == "stop"

    # State

    @property
    def saved_weights(self) -> Tensor:
        """What is sampled, judged and saved: the moving average if there is one."""
        return self.weights.copy() if self.ema is None else self.ema

    def _save_last(self) -> None:
        if self.accelerator.is_main_process:
            with self.weights.holding(self.saved_weights):
                self.generator.save_lora(self.config.out / "last")
        self.accelerator.wait_for_everyone()
        if self._log is not None:
            self._log.close()

    def _save(self) -> None:
        if not self.accelerator.is_main_process:
            return
        state = self.optimiser.state[self.weights.vector]
        tensors = {"weights": self.weights.vector, **{f"extra.{name}": each for name, each in self.extra.items()}}
        tensors |= {f"optimiser.{name}": value for name, value in state.items()}
        if self.ema is not None:
            tensors["ema"] = self.ema
        record = {"shapes": self.weights.shapes, "judged": self.judge.points if self.judge else []}
        save_checkpoint(self.config.out, self.step, tensors, record, self.config.keep)

    def _resume(self) -> None:
        folder = last_checkpoint(self.config.out)
        tensors, record = load_checkpoint(folder)
        wanted = {"weights", *(["ema"] if self.ema is not None else []), *(f"extra.{name}" for name in self.extra)}
        if record["shapes"] != self.weights.shapes or not wanted <= tensors.keys():
            raise InputError(f"{folder}: was saved by a run with other options of adapter or ema; use the same ones")
        self.step = int(record["step"])
        device = self.weights.vector.device
        self.weights.set(tensors["weights"].to(device))
        if self.ema is not None:
            self.ema.copy_(tensors["ema"])
        for name, vector in self.extra.items():
            vector.copy_(tensors[f"extra.{name}"])
        self.optimiser.state[self.weights.vector] = {
            name.removeprefix("optimiser."): tensor if name.endswith(".step") else tensor.to(device)
            for name, tensor in tensors.items()
            if name.startswith("optimiser.")
        }
        if self.judge is not None:
            self.judge.points = record["judged"]
