"""Judging a generator in training: the same held-out prompts and seeds each time, kept as videos and numbers."""

import dataclasses
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reward.arrays import clip_from_frames
from reward.files import write_jsonl
from reward.gates import measure_gates
from reward.model import Reward, RewardModel
from reward.prompts import Prompt
from reward.video import write_video
from rl.clips import dimension_means, scalar, score_clips
from rl.detecting import Detector
from rl.draws import derived_seed
from rl.generator import Condition, Generator
from rl.monitor import Rule, alarms, write_page

DRIFT_TIMES = (0.25, 0.5, 0.75)


@dataclasses.dataclass(frozen=True)
class Sampled:
    """One held-out clip: prompt, number, latents (1, ...), frames (T, H, W, 3), and the two rewards if any."""

    prompt: Prompt
    number: int
    latents: Tensor
    frames: NDArray[np.uint8]
    reward: Reward | str | None = None
    judge: Reward | str | None = None


@dataclasses.dataclass
class Judge:
    """`conditions` of the held-out prompts; the train critic, the judge and the detector, each if there is one.

    `points` are the measurements so far, as rl/monitor.py describes them. `clips` per prompt, `batch` at once.
    """

    out: Path
    prompts: Sequence[Prompt]
    conditions: Sequence[Condition]
    clips: int
    batch: int
    seed: int
    rule: Rule
    critic: RewardModel | None = None
    judge: RewardModel | None = None
    detector: Detector | None = None
    points: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def is_judged(self, step: int) -> bool:
        """Return whether there is a measurement after so many steps."""
        return any(point["step"] == step for point in self.points)

    def is_best(self, step: int) -> bool:
        """Return whether these steps gave the best score so far, among trained weights; the first of equals."""
        name = self.scorer
        trained = [point for point in self.points if name and point["step"] > 0 and point[name] is not None]
        return bool(trained) and max(trained, key=lambda point: float(point[str(name)]))["step"] == step

    @property
    def scorer(self) -> str | None:
        """What the best weights are chosen by: "judge", "reward" (the train critic) for want of one, or nothing."""
        return "judge" if self.judge else "reward" if self.critic else None

    def measure(self, generator: Generator, step: int, accelerator: Any) -> list[str]:
        """Sample, judge, write samples/step-N and the page; return the monitor's alarms, the same in all processes."""
        from accelerate.utils import gather_object

        jobs = [(i, number) for i in range(len(self.prompts)) for number in range(self.clips)]
        mine = self._sample(generator, jobs[accelerator.process_index :: accelerator.num_processes])
        drift = self._drift(generator, mine)
        for each in mine:
            write_video(
                self._folder(step) / each.prompt.id / f"{each.number:03d}.mp4", each.frames, self._fps(generator)
            )
        rows = [_row(each, self.detector, self._fps(generator)) for each in mine]
        latents = [(each.prompt.id, each.latents.flatten().cpu().numpy()) for each in mine]
        if accelerator.num_processes > 1:
            rows, latents, drift = gather_object(rows), gather_object(latents), gather_object(drift)
        point = {"step": step, **_summary(rows), "diversity": diversity(latents), "drift": _mean(drift)}
        self.points.append(point)
        found = alarms(self.points, self.rule)
        if accelerator.is_main_process:
            write_jsonl(self._folder(step) / "scores.jsonl", rows)
            self._tell(point, found)
        return found

    def _sample(self, generator: Generator, jobs: Sequence[tuple[int, int]]) -> list[Sampled]:
        found: list[Sampled] = []
        for start in range(0, len(jobs), self.batch):
            chunk = jobs[start : start + self.batch]
            prompts = [self.prompts[i] for i, _ in chunk]
            seeds = [derived_seed("judge", self.seed, self.prompts[i].id, number) for i, number in chunk]
            latents = generator.sample([self.conditions[i] for i, _ in chunk], seeds)
            frames = list(generator.decode(latents))
            rewards = [
                score_clips(model, frames, prompts, self._fps(generator)) if model else [None] * len(chunk)
                for model in (self.critic, self.judge)
            ]
            found += [
                Sampled(prompts[j], chunk[j][1], latents[j : j + 1], frames[j], rewards[0][j], rewards[1][j])
                for j in range(len(chunk))
            ]
        return found

    def _drift(self, generator: Generator, sampled: Sequence[Sampled]) -> list[float]:
        """Return mse(v, v_ref) of each clip, with noise and times that are the same at every measurement."""
        from rl.matching import error

        drifts: list[float] = []
        by_id = dict(zip((prompt.id for prompt in self.prompts), self.conditions, strict=True))
        guidance = generator.sampling.guidance if generator.embeds_guidance else 1.0
        for start in range(0, len(sampled), self.batch):
            chunk = sampled[start : start + self.batch]
            clean = torch.cat([each.latents for each in chunk])
            seeds = [derived_seed("drift", self.seed, each.prompt.id, each.number) for each in chunk]
            noise = torch.cat(
                [torch.randn(1, *clean.shape[1:], generator=torch.Generator().manual_seed(seed)) for seed in seeds]
            ).to(clean.device)
            times = torch.tensor([DRIFT_TIMES[each.number % len(DRIFT_TIMES)] for each in chunk], device=clean.device)
            noisy = generator.noisy(clean, noise, times)
            conditions = [by_id[each.prompt.id] for each in chunk]
            with torch.no_grad():
                policy = generator.predict(noisy, times, conditions, guidance)
                with generator.reference():
                    reference = generator.predict(noisy, times, conditions, guidance)
            drifts += error(policy, reference).tolist()
        return drifts

    def _tell(self, point: Mapping[str, Any], found: Sequence[str]) -> None:
        from rl.logs import FILE_NAME, read_log

        known = {name: point[name] for name in ("reward", "judge", "diversity", "motion", "presence", "drift")}
        text = ", ".join(f"{name} {value:.3g}" for name, value in known.items() if value is not None)
        missing = f"; {point['missing']} of {point['clips']} clips have no reward" if point["missing"] else ""
        print(f"judged at step {point['step']}: {text}{missing}", file=sys.stderr)
        for alarm in found:
            print(f"hacking monitor, step {point['step']}: {alarm}", file=sys.stderr)
        alarmed = {int(each["step"]): alarms(self.points[: i + 1], self.rule) for i, each in enumerate(self.points)}
        log = read_log(self.out) if (self.out / FILE_NAME).exists() else []
        write_page(self.out, self.points, {step: texts for step, texts in alarmed.items() if texts}, log)

    def _folder(self, step: int) -> Path:
        return self.out / "samples" / f"step-{step:06d}"

    @staticmethod
    def _fps(generator: Generator) -> float:
        return generator.sampling.fps


def diversity(latents: Sequence[tuple[str, NDArray[np.float32]]]) -> float | None:
    """Return the mean distance of two clips of one prompt: the root mean square over their latents' elements."""
    groups: dict[str, list[NDArray[np.float32]]] = {}
    for identifier, values in latents:
        groups.setdefault(identifier, []).append(values)
    distances = [
        float(np.sqrt(np.mean((a - b) ** 2)))
        for group in groups.values()
        for i, a in enumerate(group)
        for b in group[:i]
    ]
    return _mean(distances)


def _row(each: Sampled, detector: Detector | None, fps: float) -> dict[str, Any]:
    """Return what is known of a clip, as JSON."""
    clip = clip_from_frames(each.frames, fps)
    row = {"prompt_id": each.prompt.id, "number": each.number, "motion": measure_gates(clip.frames).motion}
    for name, reward in (("reward", each.reward), ("judge", each.judge)):
        if reward is not None:
            row |= {name: _number(scalar(reward)), f"{name}_dimensions": dimension_means([reward])}
    return row | ({"presence": _number(detector(clip, each.prompt))} if detector else {})


def _summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the means of a measurement's rows, and the judge's reward of every clip."""
    by_prompt: dict[str, list[tuple[int, float | None]]] = {}
    for row in rows:
        by_prompt.setdefault(row["prompt_id"], []).append((row["number"], row.get("judge")))
    clips = {name: [value for _, value in sorted(each, key=lambda pair: pair[0])] for name, each in by_prompt.items()}
    means = [mean for each in clips.values() if (mean := _mean(each)) is not None]
    main = "judge" if any("judge" in row for row in rows) else "reward"
    return {
        "clips": len(rows),
        "missing": sum(main in row and row[main] is None for row in rows),
        **{name: _mean([row.get(name) for row in rows]) for name in ("reward", "judge", "motion", "presence")},
        "judge_se": float(np.std(means, ddof=1) / math.sqrt(len(means))) if len(means) > 1 else None,
        "judge_clips": clips,
        "reward_dimensions": _dimensions(rows, "reward_dimensions"),
        "judge_dimensions": _dimensions(rows, "judge_dimensions"),
    }


def _dimensions(rows: Sequence[Mapping[str, Any]], key: str) -> dict[str, float | None]:
    names = dict.fromkeys(name for row in rows for name in row.get(key, {}))
    return {name: _mean([row.get(key, {}).get(name) for row in rows]) for name in names}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
