"""The closed loop, measured: a generator trained on a critic's rewards, judged by an oracle that no critic touched.

    python benchmarks/closed_loop.py --out loop --seeds 0 1 2

From the shipped tiny generator, with the shipped critic as the only reward: guidance, best of 4 and 8, RWR, DPO and NFT
from equally many sampled clips of the alignment prompts, by the project's own commands. All are measured on the prompts
held out of alignment, from the same noise: "correct" counts clips in which the oracle finds every check and the event
order right, "object" those that show everything the prompt names. Diversity is the mean distance of two clips' latents
within a prompt; a generator that makes no mistakes loses all that its mistakes differed by, so that it is also given
among correct clips alone. Intervals are bootstraps over prompts; minutes are CPU minutes with sampling and scoring.
"""

import dataclasses
import itertools
import json
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

import worldcritic
from reward.metrics import auroc
from reward.model import RewardModel
from reward.prompts import Prompt, load_prompts
from reward.statistics import Interval, ratio_interval
from rl.clips import scalar, score_clips
from rl.generator import Generator
from rl.judging import diversity
from toyworld.grading import grade
from toyworld.repertoire import write_splits

BATCH = 30


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    out: Path
    """Folder for rollouts, runs, figures; what it holds is used again."""
    generator: str = "toyworld"
    """Generator to train: a folder or a short name."""
    critic: str = "toyworld"
    """The reward."""
    judge: str = "oracle"
    """Measures; training knows nothing of it, and the last weights are measured, not the best."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of rollouts and training."""
    eval_clips: int = 8
    """Clips per held-out prompt for every row; best of N picks among them."""
    pool_clips: int = 11
    """Clips per alignment prompt for RWR and DPO."""
    rounds: int = 20
    """Rounds of NFT, 48 clips each."""
    methods: tuple[str, ...] = ("rwr", "dpo", "nft")
    """What is trained."""
    threads: int = 1
    """Threads of PyTorch."""


@dataclasses.dataclass
class Measured:
    """Grades and rewards of clips (P prompts, N clips each)."""

    prompts: list[str]
    correct: np.ndarray
    coherent: np.ndarray
    object: np.ndarray
    truth: np.ndarray
    reward: np.ndarray
    diversity: float
    diversity_of_correct: float
    answers: list[tuple[str, float, float]]

    def row(self, base: "Measured | None" = None) -> dict[str, Any]:
        found: dict[str, Any] = {"clips": self.correct.size}
        for name in ("correct", "coherent", "object"):
            found[name] = float(getattr(self, name).mean())
        found["correct_interval"] = _interval(self.correct).to_json()
        found |= {"oracle": float(np.nanmean(self.truth)), "critic": float(np.nanmean(self.reward))}
        found |= {"diversity": self.diversity, "diversity_of_correct": self.diversity_of_correct}
        if base is not None:
            gain = self.correct.mean(axis=1) - base.correct.mean(axis=1)
            found |= {"gain": float(gain.mean()), "gain_interval": _interval(gain[:, None]).to_json()}
            found["diversity_kept"] = self.diversity / base.diversity
            found["kept_among_correct"] = self.diversity_of_correct / base.diversity_of_correct
        return found

    def best(self, n: int) -> np.ndarray:
        """Return whether the clip that the critic picks of each n is correct, (P, N // n)."""
        groups = self.reward.shape[1] // n
        reward = np.nan_to_num(self.reward[:, : groups * n].reshape(-1, groups, n), nan=-1)
        picked = reward.argmax(axis=2)[..., None]
        return np.take_along_axis(self.correct[:, : groups * n].reshape(-1, groups, n), picked, axis=2)[..., 0]


def _interval(values: np.ndarray) -> Interval:
    return ratio_interval(values.mean(axis=1), np.ones(len(values)))


def cpu_seconds() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def measure(
    generator: Generator,
    prompts: Sequence[Prompt],
    clips: int,
    models: tuple[RewardModel, RewardModel],
    guidance: float = 1.0,
) -> Measured:
    sampling = dataclasses.replace(generator.sampling, guidance=guidance)
    conditions = generator.encode([prompt.text for prompt in prompts])
    jobs = [(i, number) for i in range(len(prompts)) for number in range(clips)]
    rows: list[tuple[Any, float, float]] = []
    latents: list[tuple[str, np.ndarray]] = []
    answers: list[tuple[str, float, float]] = []
    for start in range(0, len(jobs), BATCH):
        chunk = jobs[start : start + BATCH]
        some = [prompts[i] for i, _ in chunk]
        seeds = [1_000_000 + 1000 * i + number for i, number in chunk]
        made = generator.sample([conditions[i] for i, _ in chunk], seeds, sampling)
        frames = list(generator.decode(made))
        told, true = (score_clips(model, frames, some, sampling.fps) for model in models)
        for prompt, video, reward, truth in zip(some, frames, told, true, strict=True):
            rows.append((grade(prompt, video), scalar(reward), scalar(truth)))
            for check, said, is_so in zip(prompt.checks, reward.answers, truth.answers, strict=True):
                if is_so.answer_mass:
                    answers.append((check.dimension, said.p_yes, is_so.p_yes))
        latents += [(prompt.id, each.flatten().numpy()) for prompt, each in zip(some, made, strict=True)]
    shape = (len(prompts), clips)
    table = {
        name: np.array([getattr(graded, name) for graded, _, _ in rows], float).reshape(shape)
        for name in ("correct", "coherent", "object")
    }
    reward, truth = (np.array(column).reshape(shape) for column in zip(*((r, t) for _, r, t in rows), strict=True))
    right = [each for each, (graded, _, _) in zip(latents, rows, strict=True) if graded.correct]
    spread, spread_right = diversity(latents), diversity(right)
    assert spread is not None
    return Measured(
        [prompt.id for prompt in prompts],
        **table,
        truth=truth,
        reward=reward,
        diversity=spread,
        diversity_of_correct=spread_right or np.nan,
        answers=answers,
    )


def run(*arguments: object) -> float:
    """Run one of our commands, return its CPU minutes."""
    started = cpu_seconds()
    code = worldcritic.main([str(each) for each in arguments])
    if code:
        sys.exit(f"worldcritic {' '.join(map(str, arguments))}: exit code {code}")
    return (cpu_seconds() - started) / 60


def train(options: Options, method: str, seed: int, folder: Path) -> float:
    """Train one method and return the CPU minutes of all that it needs."""
    out, pool, prompts = folder / method, folder / "rollouts", options.out / "prompts-train.json"
    common = ["--generator", options.generator, "--out", out, "--seed", seed, "--overwrite", "--critic", options.critic]
    common += ["--judge", "None", "--detector", "None", "--judge_prompts", "None", "--report_to", "none"]
    config = ["--config", Path(__file__).parent.parent / "configs" / f"{method}.yaml"]
    if method == "nft":
        steps = ["--prompts", prompts, "--steps", 12 * options.rounds]
        return run("nft", *config, *common, *steps)
    minutes = 0.0
    if not (folder / "pool.json").exists():
        minutes += run("sample", "--generator", options.generator, "--prompts", prompts, "--num", options.pool_clips,
                       "--seed", seed, "--out", pool, "--overwrite")  # fmt: skip
        minutes += run("score", "--critic", options.critic, "--prompts", prompts, "--videos", pool, "--out",
                       folder / "scores.jsonl", "--overwrite")  # fmt: skip
        (folder / "pool.json").write_text(json.dumps(minutes))
    else:
        minutes = json.loads((folder / "pool.json").read_text())
    if method == "rwr":
        return minutes + run("rwr", *config, *common, "--rollouts", pool, "--scores", folder / "scores.jsonl")
    mining = ["--config", Path(__file__).parent.parent / "configs" / "mine.yaml"]
    minutes += run(
        "mine", *mining, "--scores", folder / "scores.jsonl", "--videos", pool, "--out", folder / "pairs", "--overwrite"
    )
    return minutes + run("dpo", *config, *common, "--rollouts", pool, "--pairs", folder / "pairs")


def main(options: Options) -> None:
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    write_splits(options.out, overwrite=True)
    prompts = list(load_prompts(options.out / "prompts-heldout.json").values())
    models = tuple(RewardModel.from_pretrained(name, device="cpu") for name in (options.critic, options.judge))
    report: dict[str, Any] = {"options": {k: str(v) for k, v in dataclasses.asdict(options).items()}, "rows": []}

    def add(name: str, seed: int | None, row: dict[str, Any], minutes: float) -> None:
        report["rows"].append({"method": name, "seed": seed, "cpu_minutes": minutes, **row})
        (options.out / "closed_loop.json").write_text(json.dumps(report, indent=1))
        shown = {key: round(value, 3) for key, value in row.items() if isinstance(value, float)}
        print(f"{name} seed {seed}: {minutes:.1f} CPU min {shown}", flush=True)

    generator = Generator.load(options.generator, device="cpu", dtype="float32")
    started = cpu_seconds()
    base = measure(generator, prompts, options.eval_clips, models)
    minutes = (cpu_seconds() - started) / 60
    add("base", None, base.row(), minutes)
    report["auc"] = _aucs(base)
    print("critic AUC on held-out prompts' clips:", report["auc"], flush=True)
    for n in (4, 8):
        if n <= options.eval_clips:
            picked = base.best(n)
            row = {"correct": float(picked.mean()), "correct_interval": _interval(picked).to_json()}
            add(f"best of {n}", None, row, minutes)
    for guidance in (2.0, 3.0):
        started = cpu_seconds()
        guided = measure(generator, prompts, options.eval_clips, models, guidance)
        add(f"guidance {guidance:g}", None, guided.row(base), (cpu_seconds() - started) / 60)
    for seed, method in itertools.product(options.seeds, options.methods):
        folder = options.out / f"seed-{seed}"
        folder.mkdir(exist_ok=True)
        minutes = train(options, method, seed, folder)
        tuned = Generator.load(options.generator, device="cpu", dtype="float32")
        tuned.load_lora(folder / method / "last")
        add(method, seed, measure(tuned, prompts, options.eval_clips, models).row(base), minutes)
    print(table(report["rows"]))
    plot(report["rows"], options.out / "closed_loop.png")


def _aucs(base: Measured) -> dict[str, float]:
    found = {}
    for name in [*sorted({name for name, _, _ in base.answers}), "all"]:
        p, y = (
            np.array(each) for each in zip(*((p, y) for d, p, y in base.answers if name in (d, "all")), strict=True)
        )
        found[name] = float(auroc(p, y, np.ones(len(y))))
    return found


def table(rows: Sequence[dict[str, Any]]) -> str:
    columns = (
        "correct",
        "gain",
        "coherent",
        "object",
        "oracle",
        "critic",
        "diversity_kept",
        "kept_among_correct",
        "cpu_minutes",
    )
    lines = ["| method | seed | correct (95% interval) | gain (95% interval) | " + " | ".join(columns[2:]) + " |"]
    lines.append("|" + "---|" * (len(columns) + 2))
    for row in rows:
        cells = [row["method"], "-" if row["seed"] is None else str(row["seed"])]
        for name in columns[:2]:
            interval = row.get(f"{name}_interval")
            ends = (
                f" [{interval['low']:.3f}, {interval['high']:.3f}]" if interval and interval["low"] is not None else ""
            )
            cells.append(f"{row[name]:.3f}{ends}" if name in row else "")
        cells += [f"{row[name]:.3f}" if name in row else "" for name in columns[2:]]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 0.35 * len(rows) + 1.2), layout="constrained")
    names = [row["method"] + ("" if row["seed"] is None else f", seed {row['seed']}") for row in rows]
    for place, row in enumerate(rows):
        interval = row["correct_interval"]
        colour = "#2a6f97" if row["seed"] is not None else "#8a8a8a"
        axes.barh(place, row["correct"], color=colour)
        if interval["low"] is not None:
            axes.plot([interval["low"], interval["high"]], [place, place], color="black", linewidth=1.5)
    axes.set_yticks(range(len(rows)), names)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("oracle-correct clips of held-out prompts, 95% interval by prompt")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__, use_underscores=True))
