"""Check a generator, a critic and this machine before time is spent on them.

Each line of the table is something that training relies on and that fails silently: a replayed prediction that is not
the pipeline's own, a reference that is not the base, an alpha that gets lost on saving, a reward that a still clip
earns. Checked on a small clip, in seconds on tiny models. Without --generator and --critic only the machine is
checked. Exit code 0: nothing failed (there may be warnings), 1: something did.
"""

import platform
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

import pydantic

from reward.config import config
from reward.errors import InputError
from reward.files import check_outputs, write_json
from reward.options import Positive
from reward.tables import text_table
from rl.checks.outcome import Check, Outcome, Result, Status, passed, run_checks

_SHOWN: dict[Status, str] = {"passed": "ok", "warned": "WARN", "failed": "FAIL", "skipped": "skip"}


@config
class Config:
    """Options of `worldcritic doctor`."""

    generator: str | None = None
    """Generator to check: a folder, a model on the hub, or a short name such as toyworld."""
    critic: str | None = None
    """Critic to check: a folder, a model on the hub, or a short name such as toyworld."""
    videos: Path | None = None
    """Videos that the critic should understand; the toy world's critics make their own."""
    prompts: Path | None = None
    """Prompts of --videos."""
    num_videos: Annotated[int, pydantic.Field(ge=2)] = 8
    """So many of the videos are looked at."""
    out: Path | None = None
    """JSON report to write."""
    fast: bool = False
    """Leave out the checks that take longest."""
    steps: Positive | None = None
    """Steps of the sampler; by default the generator's own, at most 4."""
    num_frames: Positive | None = None
    """Frames of the clip; by default a few, as height and width: what holds for a small clip holds for a large one."""
    height: Positive | None = None
    """Height of the clip in pixels."""
    width: Positive | None = None
    """Width of the clip in pixels."""
    revision: str | None = None
    """Branch, tag or commit of a generator on the hub."""
    device: str = "auto"
    """auto (cuda, then mps, then cpu), or a torch device such as cuda:1."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the weights; auto is bfloat16 on cuda, float32 elsewhere. Equalities are exact in float32."""
    seed: Annotated[int, pydantic.Field(ge=0)] = 0
    """Seed of clips, noise and adapters."""
    overwrite: bool = False
    """Replace a report that exists."""


def main(config: Config) -> int:
    """Run the checks; returns 0 where none failed, else 1."""
    _check_options(config)
    results = []
    for result in _results(config):
        print(f"{result.about}: {result.name}: {_SHOWN[result.outcome.status]}", file=sys.stderr)
        results.append(result)
    print(table(results))
    counts = Counter(result.outcome.status for result in results)
    print(", ".join(f"{counts[status]} {status}" for status in _SHOWN))
    if config.out is not None:
        write_json(config.out, _report(config, results, counts))
    return 1 if counts["failed"] else 0


def table(results: Sequence[Result]) -> str:
    """Return results as a table for a person; what to do stands below the line that asks for it."""
    rows = []
    for result in results:
        found = result.outcome
        rows.append([_SHOWN[found.status], result.about, result.name, found.bar, found.measured])
    head, *lines = text_table(["", "of", "check", "bar", "measured"], rows, left=5).split("\n")
    shown = [head]
    for line, result in zip(lines, results, strict=True):
        shown.append(line)
        if result.outcome.advice:
            shown.append(f"      -> {result.outcome.advice}")
    return "\n".join(shown)


def _check_options(config: Config) -> None:
    if config.videos is not None and config.critic is None:
        raise InputError("--videos are for a critic: give --critic NAME")
    if (config.videos is None) != (config.prompts is None):
        raise InputError("--videos and --prompts belong together: give both or none")
    if config.out is not None:
        check_outputs([config.out], [each for each in (config.prompts,) if each], config.overwrite)


def _results(config: Config) -> Iterator[Result]:
    from rl.checks.environment import environment_checks

    yield from run_checks("machine", environment_checks(config.device, config.dtype, config.out), config.fast)
    if config.generator is not None:
        yield from _generator_results(config, config.generator)
    if config.critic is not None:
        yield from _critic_results(config, config.critic)


def _generator_results(config: Config, name: str) -> Iterator[Result]:
    loaded = []

    def load() -> Outcome:
        from rl.checks.subject import Subject, small_sampling
        from rl.generator import Generator

        generator = Generator.load(name, device=config.device, dtype=config.dtype, revision=config.revision)
        size = {key: getattr(config, key) for key in ("steps", "num_frames", "height", "width")}
        subject = Subject(generator, small_sampling(generator, **size), config.seed)
        generator.adapter.check_size(subject.sampling.size)
        loaded.append(subject)
        scheduler = type(generator.pipe.scheduler).__name__
        return passed(f"{generator.family}, {scheduler}, fingerprint {generator.fingerprint[:12]}", "a known family")

    yield from run_checks("generator", [Check("loads", load)], config.fast)
    for subject in loaded:
        from rl.checks.generator import generator_checks
        from rl.checks.training import training_checks

        checks: Iterable[Check] = [*generator_checks(subject), *training_checks(subject)]
        yield from run_checks("generator", checks, config.fast)


def _critic_results(config: Config, name: str) -> Iterator[Result]:
    loaded = []
    with tempfile.TemporaryDirectory(prefix="worldcritic-doctor-") as folder:

        def load() -> Outcome:
            from reward.model import RewardModel
            from reward.options import LoadOptions
            from rl.checks.critic import examine

            model = RewardModel.from_pretrained(name, LoadOptions(device=config.device, dtype=config.dtype))
            given = config.videos, config.prompts
            loaded.append(examine(name, model, Path(folder), given, num=config.num_videos, seed=config.seed))
            identity = model.identity
            trained = "trained" if identity.get("trained") else "not trained"
            calibrated = "calibrated" if identity["calibrated"] else "not calibrated"
            return passed(f"{identity['name']}, {trained}, {calibrated}")

        yield from run_checks("critic", [Check("loads", load)], config.fast)
        for examined in loaded:
            from rl.checks.critic import critic_checks

            yield from run_checks("critic", critic_checks(examined), config.fast)


def _report(config: Config, results: Sequence[Result], counts: Counter[Status]) -> dict[str, object]:
    return {
        "schema_version": 1,
        "generator": config.generator,
        "critic": config.critic,
        "device": config.device,
        "dtype": config.dtype,
        "seed": config.seed,
        "fast": config.fast,
        "python": platform.python_version(),
        "counts": {status: counts[status] for status in _SHOWN},
        "checks": [result.to_json() for result in results],
    }
