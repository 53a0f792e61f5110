"""Run the whole loop on the toy world, offline, with the critic and the generator that ship, and measure its gain.

Every stage is a command that is printed before it runs. Clips with known truth show what the critic is worth; then
candidates are sampled, scored and ranked, pairs are mined, the generator is fine-tuned by DPO on the pairs and by NFT
on fresh clips, each time with the critic's rewards alone. The oracle, which measures pixels and which no critic
touched, counts how many clips of held-out prompts are right before and after: that is the table at the end.

A run that was stopped goes on with the first unfinished stage when the same command is given again.
"""

import shlex
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

import worldcritic
from reward.config import config as verb_config
from reward.errors import InputError
from reward.files import read_json, read_jsonl, write_json
from reward.scores import ScoreRow, load_scores
from reward.statistics import Interval, ratio_interval
from reward.tables import text_table
from toyworld.repertoire import write_splits

CONFIGS = Path(__file__).parent / "configs"
"""Settings that suit the tiny generator, installed beside this file."""
STATE, TABLE, PAGE = "demo.json", "table.json", "report.html"
METHODS = {"dpo": "fine-tuned, DPO", "nft": "fine-tuned, NFT"}


@verb_config
class Config:
    """Options of `worldcritic demo`."""

    out: Path = Path("demo")
    """Folder for everything."""
    quick: bool = False
    """Fewer clips and steps: shows that all works in under two minutes, and gains less."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of clips and training."""
    device: str = "cpu"
    """Where the tiny models run: cpu, or a torch device such as cuda."""
    dry_run: bool = False
    """Print the commands, run none."""
    overwrite: bool = False
    """Delete --out with all that is in it, if it holds an earlier demo, and begin anew."""


@dataclass(frozen=True)
class Size:
    """How much is made: prompts with known truth, candidates per prompt, optimiser steps."""

    known: int
    candidates: int
    dpo_steps: int
    nft_steps: int


FULL, QUICK = Size(16, 8, 400, 240), Size(4, 4, 60, 48)


@dataclass(frozen=True)
class Stage:
    """One command of the loop; `name` is unique and says to a later run that it is done."""

    name: str
    title: str
    command: tuple[str, ...]


@dataclass(frozen=True)
class Line:
    """Held-out clips that the oracle finds right in every answer: the share, and its gain over the base."""

    name: str
    clips: int
    correct: float
    correct_interval: Interval
    gain: float
    gain_interval: Interval


def main(config: Config) -> int:
    """Run what is not done yet; returns the exit code of a stage that failed, else 0."""
    started = time.monotonic()
    plan = stages(config)
    if config.dry_run:
        for number, stage in enumerate(plan, 1):
            _announce(number, len(plan), stage)
        return 0
    done = _begin(config)
    for number, stage in enumerate(plan, 1):
        if stage.name in done:
            continue
        _announce(number, len(plan), stage)
        if code := worldcritic.main(stage.command):
            print(f"worldcritic demo: stage {number}, {stage.title}, ended with exit code {code}", file=sys.stderr)
            return code
        done.append(stage.name)
        _save(config, done)
    lines = measure(config.out)
    write_json(config.out / TABLE, [_plain(line) for line in lines])
    print(f"\n{_table(lines)}")
    print(f"\nclips of held-out prompts by the oracle, 95% intervals by prompt; {_minutes(started)}")
    print(f"page: {config.out / PAGE}   table: {config.out / TABLE}   LoRAs: {config.out / 'nft' / 'last'}, dpo/last")
    return 0


def stages(config: Config) -> list[Stage]:
    """Return all commands in order."""
    size, out = QUICK if config.quick else FULL, config.out
    common = ("--device", config.device)
    critic, oracle = ("--critic", "toyworld", *common), ("--critic", "oracle")
    world, known, heldout = out / "world", out / "prompts-train.json", out / "prompts-heldout.json"
    sample = ("sample", "--generator", "toyworld", "--batch_size", 32, "--num", size.candidates, "--seed", config.seed)
    found: list[Stage] = []

    def add(name: str, title: str, *command: object) -> None:
        found.append(Stage(name, title, (*map(str, command), "--overwrite")))

    add("world", "Make clips whose truth is known",
        "toyworld", "--out", world, "--num", size.known, "--candidates", 4, "--seed", config.seed)  # fmt: skip
    add("world scores", "Score them with the critic",
        "score", *critic, *_videos(world / "prompts.json", world / "videos"),
        "--out", world / "scores.jsonl")  # fmt: skip
    add("labels", "Write down their truth as labels",
        "label", "--teacher", "truth", *_videos(world / "prompts.json", world / "videos"),
        "--out", world / "labels")  # fmt: skip
    add("agreement", "Hold the critic against the truth",
        "evaluate", "--scores", world / "scores.jsonl", "--labels", world / "labels",
        "--out", world / "agreement.json")  # fmt: skip
    add("base", "Sample candidates for held-out prompts", *sample, *common, "--prompts", heldout, "--out", out / "base")
    add("base scores", "Score them", "score", *critic, *_videos(heldout, out / "base"), "--out", out / "base.jsonl")
    add("rank", "Pick the best of each prompt's candidates",
        "rank", "--scores", out / "base.jsonl", "--out", out / "best.jsonl")  # fmt: skip
    add("rollouts", "Sample clips to learn from", *sample, *common, "--prompts", known, "--out", out / "rollouts")
    add("scores", "Score them", "score", *critic, *_videos(known, out / "rollouts"), "--out", out / "scores.jsonl")
    add("mine", "Find preference pairs among them",
        "mine", "--config", _settings_file("mine.yaml"), "--scores", out / "scores.jsonl", "--videos", out / "rollouts",
        "--out", out / "pairs")  # fmt: skip
    judged = ("--judge_prompts", heldout, "--seed", config.seed, *common)
    add("dpo", "Fine-tune the generator on the pairs (DPO)",
        "dpo", "--config", _settings_file("dpo.yaml"), "--rollouts", out / "rollouts", "--pairs", out / "pairs",
        *judged, "--steps", size.dpo_steps, "--out", out / "dpo")  # fmt: skip
    add("nft", "Fine-tune the generator on fresh clips and their rewards (NFT)",
        "nft", "--config", _settings_file("nft.yaml"), "--prompts", known, *judged, "--steps", size.nft_steps,
        "--out", out / "nft")  # fmt: skip
    for method in METHODS:
        add(f"after {method}", f"Sample the held-out prompts again, from the same noise, after {method.upper()}",
            *sample, *common, "--prompts", heldout, "--lora", out / method / "last",
            "--out", out / f"after-{method}")  # fmt: skip
    for made in ("base", *(f"after-{method}" for method in METHODS)):
        add(f"oracle {made}", f"Let the oracle judge {made}",
            "score", *oracle, *_videos(heldout, out / made), "--out", out / f"oracle-{made}.jsonl")  # fmt: skip
    add("report", "Put all of it on one page",
        "report", "--scores", out / "scores.jsonl", "--prompts", known, "--pairs", out / "pairs", "--training",
        out / "nft", "--before", out / "oracle-base.jsonl", "--after", out / "oracle-after-nft.jsonl",
        "--title", "worldcritic demo", "--out", out / PAGE)  # fmt: skip
    return found


def _settings_file(name: str) -> Path:
    path = CONFIGS / name
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _videos(prompts: Path, videos: Path) -> tuple[str, ...]:
    return ("--prompts", str(prompts), "--videos", str(videos))


def measure(out: Path) -> list[Line]:
    """Return the final table: the base, the critic's pick of N, and what each fine-tuning made of it."""
    base = _correct(load_scores(out / "oracle-base.jsonl"))
    picked = {
        row["prompt_id"]: {row["video"]: base[row["prompt_id"]][row["video"]]}
        for _, row in read_jsonl(out / "best.jsonl", "ranking")
        if row["video"] is not None
    }
    candidates = max(map(len, base.values()))
    lines = [_line("base", base, base), _line(f"best of {candidates}, by the critic", picked, base)]
    for method, name in METHODS.items():
        lines.append(_line(name, _correct(load_scores(out / f"oracle-after-{method}.jsonl")), base))
    return lines


Correct = Mapping[str, Mapping[str, bool]]
"""Whether each video of each prompt is right in everything."""


def _correct(rows: Sequence[ScoreRow]) -> Correct:
    """Return whether the oracle says Yes to every question and sees the events in order; no answer counts as no."""
    found: dict[str, dict[str, bool]] = {}
    for row in rows:
        found.setdefault(row.prompt_id, {})[row.video] = row.status == "ok" and row.reward > 1 - 1e-6
    return found


def _line(name: str, correct: Correct, base: Correct) -> Line:
    prompts = list(base)
    shares = np.array([np.mean(list(correct[prompt].values())) for prompt in prompts])
    gains = shares - [np.mean(list(base[prompt].values())) for prompt in prompts]
    ones = np.ones(len(prompts))
    return Line(
        name,
        sum(map(len, correct.values())),
        float(shares.mean()),
        ratio_interval(shares, ones),
        float(gains.mean()),
        ratio_interval(gains, ones),
    )


def _table(lines: Sequence[Line]) -> str:
    rows = [
        [
            line.name,
            str(line.clips),
            f"{line.correct:.3f}",
            line.correct_interval.shown(),
            "" if line is lines[0] else f"{line.gain:+.3f}",
            "" if line is lines[0] else line.gain_interval.shown(),
        ]
        for line in lines
    ]
    return text_table(["", "clips", "correct", "95% interval", "gain", "95% interval"], rows)


def _plain(line: Line) -> dict[str, Any]:
    intervals = {name: getattr(line, name).to_json() for name in ("correct_interval", "gain_interval")}
    return {**asdict(line), **intervals}


def _begin(config: Config) -> list[str]:
    """Make the folder ready and return the names of the stages that an earlier run finished."""
    state = config.out / STATE
    if state.exists() and not config.overwrite:
        kept = read_json(state, "demo's state")
        if kept.get("settings") != _settings(config):
            raise InputError(
                f"{config.out} holds a demo of other settings; --overwrite begins anew, --out goes elsewhere"
            )
        return list(kept["done"])
    if config.out.exists() and any(config.out.iterdir()):
        if not state.exists():
            raise InputError(f"--out {config.out} is not empty and holds no demo; choose another folder")
        shutil.rmtree(config.out)
    write_splits(config.out, overwrite=True)
    _save(config, [])
    return []


def _save(config: Config, done: Sequence[str]) -> None:
    write_json(config.out / STATE, {"settings": _settings(config), "done": list(done)})


def _settings(config: Config) -> dict[str, Any]:
    return {"quick": config.quick, "seed": config.seed, "device": config.device}


def _announce(number: int, total: int, stage: Stage) -> None:
    print(f"\n[{number}/{total}] {stage.title}\n$ worldcritic {shlex.join(stage.command)}", flush=True)


def _minutes(started: float) -> str:
    return f"{(time.monotonic() - started) / 60:.1f} minutes"
