"""Sample candidates from a generator into a rollout store: videos, latents, what the prompts were encoded to.

Running the same command again goes on where it stopped; a larger --num adds candidates. What is in --out can be scored
in place: `worldcritic score --videos OUT`. Exit code 3: some clips failed.
"""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pydantic

from reward.candidates import Candidate, in_shard
from reward.config import config, save_run
from reward.errors import InputError
from reward.files import sha256_file, writing
from reward.options import Positive
from reward.prompts import load_prompts
from reward.score import shard_path
from rl import store, store_writer
from rl.draws import derived_seed
from rl.making import Job, make
from rl.settings import Above, Sampling, Schedule

if TYPE_CHECKING:
    from rl.generator import Generator

_SAMPLING = (
    "num_frames", "height", "width", "fps", "steps", "guidance", "guidance_2", "max_sequence_length", "shift",
    "schedule", "negative_prompt",
)  # fmt: skip
Guidance = Annotated[float, pydantic.Field(ge=1)]


@config
class Config:
    """Options of `worldcritic sample`. None leaves a setting to the generator's own sampling.json or its family."""

    generator: str
    """A generator's folder, a model on the hub, or a short name such as toyworld."""
    prompts: Path
    """Prompt file: VideoVerse's JSON, JSONL, or plain text with one prompt a line."""
    out: Path
    """Folder of the rollout store."""
    num: Positive = 4
    """Candidates per prompt."""
    seed: int = 0
    """Each clip's seed is derived from this one, its prompt id and its number."""
    lora: Path | None = None
    """Folder of a LoRA that `save_lora` or a training verb saved."""
    batch_size: Positive = 4
    """Clips at once; halved when memory does not suffice."""
    device: str = "auto"
    """auto (cuda, then mps, then cpu), or a torch device such as cuda:1."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the weights; auto is bfloat16 on cuda, float32 elsewhere."""
    revision: str | None = None
    """Branch, tag or commit of a generator on the hub."""
    steps: Positive | None = None
    """Steps of the solver."""
    guidance: Guidance | None = None
    """Classifier-free guidance, 1 is none; the embedded guidance of a distilled HunyuanVideo."""
    guidance_2: Guidance | None = None
    """Guidance of the low-noise expert of Wan2.2 A14B."""
    shift: Above | None = None
    """Shift of the noise levels towards noise."""
    schedule: Schedule | None = None
    """pipeline: noise levels as the stock pipeline sets them; uniform: evenly spaced, shifted once."""
    negative_prompt: str | None = None
    """What guidance steers away from."""
    num_frames: Positive | None = None
    """Frames per clip."""
    height: Positive | None = None
    """Height in pixels."""
    width: Positive | None = None
    """Width in pixels."""
    fps: Above | None = None
    """Frames per second."""
    max_sequence_length: Positive | None = None
    """Tokens of text that the text encoder is given."""
    crf: Annotated[int, pydantic.Field(ge=0, le=51)] = 18
    """Quality of the videos: libx264's scale from 0 (lossless luma) to 51."""
    limit: Positive | None = None
    """Make only the first so many clips."""
    num_shards: Positive = 1
    """Split the prompts over so many runs of this command."""
    shard_index: Annotated[int, pydantic.Field(ge=0)] = 0
    """Which part this run does, from 0."""
    dry_run: bool = False
    """Say what would be made, load nothing, write nothing."""
    overwrite: bool = False
    """Make all clips again, whatever is there."""


def main(config: Config) -> int:
    """Sample, and return 0, or 3 if some clips failed."""
    _check(config)
    jobs = _jobs(config)
    done = _done(config, jobs)
    todo = [job for job in jobs if job.key not in done]
    if config.dry_run:
        plan = {"clips": len(jobs), "prompts": len({job.prompt.id for job in jobs}), "clips_to_make": len(todo)}
        print(json.dumps(plan | {"settings_given": _given(config)}, indent=2))
        return 0
    index = shard_path(config.out / store.INDEX, config.num_shards, config.shard_index)
    with writing(index):
        started = time.monotonic()
        generator, header = _load(config)
        _agree(config, header)
        if config.overwrite:
            store_writer.discard(config.out)
        store_writer.write_header(config.out, header)
        failed = make(generator, store_writer.StoreWriter(config.out, header, index), todo, config.batch_size)
        total = store_writer.write_manifest(config.out, generator.name)
        made = len(todo) - failed
        summary = {"clips": len(jobs), "made": made, "failed": failed, "seconds": round(time.monotonic() - started, 3)}
        save_run(config, index, {"prompts": config.prompts}, generator=_identity(header), summary=summary)
    print(f"{made} clips made, {failed} failed; {total} in {config.out}", file=sys.stderr)
    return 3 if failed else 0


def _check(config: Config) -> None:
    """Refuse what cannot go well before anything is loaded."""
    if config.shard_index >= config.num_shards:
        raise InputError(f"--shard_index {config.shard_index} must be below --num_shards {config.num_shards}")
    if config.out.exists() and not config.out.is_dir():
        raise InputError(f"--out {config.out} is a file; name a folder")
    if config.overwrite and config.num_shards > 1:
        raise InputError(
            "--overwrite would discard the other shards' clips; remove the folder, or choose another --out"
        )
    if config.out.is_dir() and not (config.out / store.HEADER).exists():
        strange = sorted(path.name for path in config.out.iterdir() if not path.name.startswith("."))
        if strange:
            raise InputError(f"--out {config.out} holds {strange[0]} and is not a rollout store; choose another folder")


def _jobs(config: Config) -> list[Job]:
    """Return the shard's clips, prompt by prompt."""
    prompts = load_prompts(config.prompts).values()
    jobs = []
    for prompt in prompts:
        store_writer.check_prompt_id(prompt.id)
        if in_shard(Candidate(prompt, "", Path()), config.num_shards, config.shard_index):
            seeds = (derived_seed("sample", config.seed, prompt.id, i) for i in range(config.num))
            jobs += [Job(prompt, i, seed) for i, seed in enumerate(seeds)]
    if not jobs:
        raise InputError(f"no clip to make: {config.prompts} holds no prompt for shard {config.shard_index}")
    return jobs[: config.limit]


def _done(config: Config, jobs: Sequence[Job]) -> set[tuple[str, int]]:
    """Return the clips that are whole; InputError for a prompt whose text has changed since."""
    if config.overwrite or not config.out.is_dir():
        return set()
    texts = {job.prompt.id: job.prompt.text for job in jobs}
    done = set()
    for row in store.read_rows(config.out):
        if texts.get(row.prompt_id, row.prompt) != row.prompt:
            raise InputError(
                f"{config.out}: prompt {row.prompt_id} had another text; choose another --out or --overwrite"
            )
        if (config.out / row.video).exists() and (config.out / row.latents).exists():
            done.add(row.key)
    return done


def _given(config: Config) -> dict[str, Any]:
    return {name: value for name in _SAMPLING if (value := getattr(config, name)) is not None}


def _load(config: Config) -> "tuple[Generator, store.Header]":
    """Load the generator, with its LoRA and settings, and say what the store is to hold."""
    from rl.generator import Generator

    generator = Generator.load(config.generator, device=config.device, dtype=config.dtype, revision=config.revision)
    generator.sampling = sampling = generator.sampling.with_options(**_given(config))
    lora = None
    if config.lora is not None:
        generator.load_lora(config.lora)
        files = {path.name: sha256_file(path) for path in sorted(config.lora.glob("*.safetensors"))}
        lora = {"path": str(config.lora), "sha256": files}
    levels = generator.levels(sampling)
    _say_levels(sampling, levels)
    header = store.Header(
        generator=generator.name,
        family=generator.family,
        fingerprint=generator.fingerprint,
        sampling=sampling,
        levels=levels,
        latent_shape=generator.adapter.latent_shape(sampling.size),
        dtype=str(generator.pipe.transformer.dtype).removeprefix("torch."),
        seed=config.seed,
        crf=config.crf,
        lora=lora,
        versions=_versions(),
    )
    return generator, header


def _say_levels(sampling: Sampling, levels: Sequence[float]) -> None:
    """Print the noise levels, and warn of a schedule that all but wastes its last step."""
    shown = [levels[0], *levels[1:3], *levels[-2:]] if len(levels) > 6 else levels
    print(f"{sampling.steps} steps, noise levels {', '.join(f'{level:.4g}' for level in shown)}", file=sys.stderr)
    last = levels[-2]
    if sampling.schedule == "pipeline" and levels[-1] == 0 and last < 0.2 / sampling.steps:
        print(
            f"note: the stock schedule's last step goes from {last:.4f} to 0, which is next to nothing; "
            "--schedule uniform spends it better",
            file=sys.stderr,
        )


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("worldcritic", "diffusers", "torch", "transformers", "peft")}


def _identity(header: store.Header) -> dict[str, Any]:
    record = header.to_json()
    return {
        key: record[key] for key in ("generator", "family", "fingerprint", "sampling", "dtype", "seed", "crf", "lora")
    }


def _agree(config: Config, header: store.Header) -> None:
    """Raise InputError where the store that is there was made otherwise."""
    if config.overwrite or not (config.out / store.HEADER).exists():
        return
    there, here = _identity(store.read_header(config.out)), _identity(header)
    there["lora"], here["lora"] = (each["lora"] and each["lora"]["sha256"] for each in (there, here))
    there.pop("generator"), here.pop("generator")  # a path may change, the fingerprint may not
    there, here = (each.pop("sampling") | each for each in (there, here))
    for key, now in here.items():
        if there[key] != now:
            raise InputError(
                f"{config.out} was made with {key} {json.dumps(there[key])}, not {json.dumps(now)}; "
                "choose another --out, or give --overwrite"
            )
