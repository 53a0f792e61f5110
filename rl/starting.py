"""What every run does before its first step: look at the folder, load generator, critic and judge, encode prompts."""

import dataclasses
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reward.config import save_run
from reward.errors import InputError
from reward.files import read_json
from reward.prompts import Prompt, load_prompts
from rl.options import Options

if TYPE_CHECKING:
    from reward.model import RewardModel
    from rl.generator import Condition, Generator
    from rl.judging import Judge
    from rl.loop import Run
    from rl.store import RolloutStore

_WRITTEN = ("checkpoints", "samples", "rollouts", "best", "last", "worldcritic")
"""Folders of a run; the last one is tensorboard's."""
_FREE = frozenset(
    (
        *("out", "steps", "device", "keep", "save_every", "report_to", "dry_run", "resume", "overwrite"),
        *("gradient_checkpointing", "sample_batch", "keep_rollouts"),
        *("on_hacking", "hacking_stds", "least_diversity", "least_motion", "least_presence"),
    )
)
"""Options that a resumed run may change."""


@dataclass(frozen=True)
class Setup:
    """What a run is made of. `conditions` are those of the prompts that were asked for."""

    accelerator: Any
    generator: "Generator"
    critic: "RewardModel | None"
    judge: "Judge | None"
    conditions: "list[Condition]"


def check_out(config: Options, verb: str) -> None:
    """Refuse, before any work, a folder that holds something else, or an earlier run that is neither resumed nor not.

    Raises InputError; with --overwrite an earlier run's files are removed when the new one begins.
    """
    config.check_judging()
    record = _record(config.out, verb)
    if config.out.exists() and not config.out.is_dir():
        raise InputError(f"--out {config.out} is a file; name a folder")
    if config.resume and config.overwrite:
        raise InputError("--resume goes on and --overwrite starts over; give one of them")
    if config.resume:
        if not record.exists():
            raise InputError(f"--resume: {config.out} holds no run of `worldcritic {verb}`")
        _check_same(config, read_json(record, "run record")["config"], record)
    elif config.out.is_dir() and any(config.out.iterdir()) and not config.dry_run:
        if not record.exists():
            raise InputError(f"--out {config.out} holds files that are no run of `worldcritic {verb}`; name another")
        if not config.overwrite:
            raise InputError(f"{config.out} holds an earlier run; go on with --resume, or start over with --overwrite")


def _check_same(config: Options, earlier: Mapping[str, Any], record: Path) -> None:
    """Refuse to go on with options under which the run would have been another one."""
    free = _FREE if config.decay == "none" else _FREE - {"steps"}
    for name, value in dataclasses.asdict(config).items():
        plain = list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value
        if name not in free and name in earlier and earlier[name] != plain:
            raise InputError(f"--resume: {name} was {earlier[name]!r} in {record}, and is {plain!r} now; use the same")


def set_up(
    config: Options,
    verb: str,
    inputs: Mapping[str, Path],
    *,
    prompts: Sequence[Prompt] = (),
    store: "RolloutStore | None" = None,
) -> Setup:
    """Load everything and begin the folder.

    The settings of a store are taken instead of the generator's own; InputError if another generator made it.
    """
    from accelerate import Accelerator

    logs = "tensorboard" if config.report_to == "tensorboard" and not config.dry_run else None
    accelerator = Accelerator(
        cpu=config.device == "cpu", mixed_precision="no", log_with=logs, project_dir=str(config.out)
    )
    device = str(accelerator.device) if config.device == "auto" else config.device
    if accelerator.num_processes > 1 and config.device not in ("auto", "cpu"):
        raise InputError(f"--device {config.device} with several processes; leave it at auto")
    generator, conditions, held_out = _generator(config, device, prompts, store)
    critic = _critic(config.critic, device)
    judge = _judge(config, held_out, critic, device)
    setup = Setup(accelerator, generator, critic, judge, conditions)
    accelerator.wait_for_everyone()  # before one process writes what the others look at
    if not config.dry_run:
        if accelerator.is_main_process:
            _begin_folder(config, verb, inputs, setup)
        if logs:
            accelerator.init_trackers("worldcritic")
    accelerator.wait_for_everyone()
    return setup


def start(config: Options, setup: Setup, extra: Sequence[str] = ()) -> "Run":
    """Return the run, at its beginning or where the last checkpoint left it."""
    from rl.loop import Run

    return Run(config, setup.generator, setup.accelerator, judge=setup.judge, extra=extra, dry=config.dry_run)


def tell(config: Options, run: "Run", counted: str) -> int:
    """Say how a run ended, or what a dry run found; return the exit code, 3 where the hacking monitor stopped it."""
    if not run.accelerator.is_main_process:
        return 3 if run.stopped else 0
    if run.dry:
        minutes = run.seconds_per_step * config.steps / 60
        print(
            f"dry run: {counted}; {config.steps} steps of {run.samples_per_step}, {run.seconds_per_step:.2f} s each, "
            f"about {minutes:.1f} minutes without judging; nothing written"
        )
        return 0
    lines = [f"{counted}; {run.step} steps", f"last adapter: {config.out / 'last'}"]
    lines.append(_best(run, config))
    print("\n".join(lines), file=sys.stderr)
    return 3 if run.stopped else 0


def _best(run: "Run", config: Options) -> str:
    judge = run.judge
    if judge is None or judge.scorer is None:
        return "no best adapter is chosen: that needs --judge_prompts with a --judge or a --critic"
    step = next((point["step"] for point in judge.points[::-1] if judge.is_best(point["step"])), None)
    if step is None:
        return "no best adapter: no judged clip has a reward"
    values = {point["step"]: point[judge.scorer] for point in judge.points}
    by = "the judge" if judge.scorer == "judge" else "the train critic, for want of a held-out judge"
    base = values.get(0)
    change = "" if base is None else f" (untrained {base:.3f})"
    warning = "" if base is None or values[step] > base else "; it is no better than the untrained generator"
    return f"best adapter by {by}: {config.out / 'best'}, step {step}, {values[step]:.3f}{change}{warning}"


def _generator(
    config: Options, device: str, prompts: Sequence[Prompt], store: "RolloutStore | None"
) -> "tuple[Generator, list[Condition], list[tuple[Prompt, Condition]]]":
    """Load the generator and encode all prompts; then its text encoders are let go."""
    from rl.generator import Generator

    held_out = list(load_prompts(config.judge_prompts).values()) if config.judge_prompts else []
    needed = bool(prompts or held_out)
    generator = Generator.load(
        config.generator, device=device, dtype=config.dtype, revision=config.revision, text=needed
    )
    if store is not None:
        store.check(generator)
        generator.sampling = store.sampling
    generator.sampling = generator.sampling.with_options(
        steps=config.sampling_steps,
        **{
            name: getattr(config, name) for name in ("guidance", "num_frames", "height", "width", "max_sequence_length")
        },
    )
    encoded = generator.encode([prompt.text for prompt in (*prompts, *held_out)]) if needed else []
    if needed and generator.sampling.guidance > 1 and not generator.embeds_guidance:
        generator.unconditional()
    for part in generator.pipe.components.keys() & {"text_encoder", "text_encoder_2"}:
        generator.pipe.register_modules(**{part: None})  # its memory is needed for training
    return generator, encoded[: len(prompts)], list(zip(held_out, encoded[len(prompts) :], strict=True))


def _critic(name: str | None, device: str) -> "RewardModel | None":
    from reward.model import RewardModel

    return RewardModel.from_pretrained(name, device=device) if name else None


def _judge(
    config: Options, held_out: "Sequence[tuple[Prompt, Condition]]", critic: "RewardModel | None", device: str
) -> "Judge | None":
    from rl.detecting import find_detector
    from rl.judging import Judge
    from rl.monitor import Rule

    if not held_out:
        return None
    least = {"diversity": config.least_diversity, "motion": config.least_motion, "presence": config.least_presence}
    return Judge(
        out=config.out,
        prompts=[prompt for prompt, _ in held_out],
        conditions=[condition for _, condition in held_out],
        clips=config.judge_clips,
        batch=config.sample_batch,
        seed=config.seed,
        rule=Rule(config.hacking_stds, least),
        critic=critic,
        judge=_critic(config.judge, device),
        detector=find_detector(config.detector) if config.detector else None,
    )


def _begin_folder(config: Options, verb: str, inputs: Mapping[str, Path], setup: Setup) -> None:
    generator, critic, judge = setup.generator, setup.critic, setup.judge
    if not config.resume:
        for name in _WRITTEN:
            shutil.rmtree(config.out / name, ignore_errors=True)
        for name in ("log.jsonl", "training.json", "training.png"):
            (config.out / name).unlink(missing_ok=True)
    held_out = {"judge_prompts": config.judge_prompts} if config.judge_prompts else {}
    save_run(
        config,
        config.out / verb,
        {**inputs, **held_out},
        generator={"name": generator.name, "family": generator.family, "fingerprint": generator.fingerprint},
        sampling=dataclasses.asdict(generator.sampling),
        critic=critic.identity if critic else None,
        judge=judge.judge.identity if judge and judge.judge else None,
    )


def _record(out: Path, verb: str) -> Path:
    return out / f"{verb}.run.json"
