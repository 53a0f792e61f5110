"""Train the tiny generator from nothing: a stock WanPipeline folder that makes clips of the toy world.

Four stages, each kept in --work and taken up from there: the autoencoder, the text encoder, the encoded clips, the
video model. A known share of the clips does what its prompt asks; the rest has a fault, so that alignment has something
to gain.

    python -m toyworld.train_generator --config configs/toyworld/generator.yaml
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from reward.config import config as verb_config
from reward.config import parse, save_run
from reward.errors import InputError, WorldcriticError
from reward.files import read_json, write_json, writing

SETTINGS, TRAINING = "settings.json", "training.json"


@verb_config
class Config:
    """How the generator is trained."""

    out: Path
    """Folder for the finished pipeline; it must be new or empty."""
    work: Path
    """Folder for finished stages; the same command goes on from it."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of all weights and all that is drawn."""
    faithful: Annotated[float, Field(ge=0, le=1)] = 0.4
    """Share of the video model's clips that do all that their prompt asks."""
    threads: Annotated[int, Field(ge=1)] = 1
    """Threads of PyTorch."""
    vae_steps: Annotated[int, Field(ge=1)] = 1200
    """Steps of the autoencoder."""
    vae_batch: Annotated[int, Field(ge=1)] = 8
    """Clips a step."""
    vae_lr: Annotated[float, Field(gt=0)] = 4e-3
    """Highest learning rate of the autoencoder."""
    vae_noise: Annotated[float, Field(ge=0)] = 0.5
    """Most noise on the latents that the decoder learns to read, in their standard deviations."""
    text_steps: Annotated[int, Field(ge=1)] = 400
    """Steps of the text encoder, over all prompts each."""
    clips: Annotated[int, Field(ge=2)] = 16384
    """Clips that the video model learns from, encoded once."""
    layers: Annotated[int, Field(ge=1)] = 4
    """Blocks of the video model."""
    steps: Annotated[int, Field(ge=1)] = 9000
    """Steps of the video model."""
    batch: Annotated[int, Field(ge=1)] = 64
    """Clips a step."""
    lr: Annotated[float, Field(gt=0)] = 2e-3
    """Highest learning rate of the video model."""
    compile: bool = True
    """Compile the video model; needs a C++ compiler and about a minute, and saves a third of each step."""
    half: bool = True
    """Write the autoencoder and the video model in half precision; diffusers reads them back as float32."""


def main(config: Config) -> None:
    """Train, or go on, and write the pipeline."""
    if config.out.exists() and (not config.out.is_dir() or any(config.out.iterdir())):
        raise InputError(f"--out {config.out} is not an empty folder; choose another one")
    import torch

    from toyworld import generator_stages as stages

    torch.set_num_threads(config.threads)
    with writing(config.work / SETTINGS):
        _check_settings(config)
        stages.save(stages.build(config), config.out, config.half)
        logs = {name: read_json(config.work / f"{name}.json", "log") for name in stages.STAGES}
        write_json(config.out / TRAINING, {"recipe": _recipe(config), "stages": logs})
        save_run(config, config.out / TRAINING, {})
    print(f"generator in {config.out}", file=sys.stderr)


def _recipe(config: Config) -> dict[str, Any]:
    return {
        name: value
        for name, value in asdict(config).items()
        if name not in ("out", "work", "threads", "compile", "half")
    }


def _check_settings(config: Config) -> None:
    """Keep the recipe beside its stages; refuse another one."""
    path = config.work / SETTINGS
    if path.exists() and read_json(path, "settings") != _recipe(config):
        raise InputError(f"--work {config.work} holds stages of another recipe; choose another folder or delete it")
    write_json(path, _recipe(config))


def command(arguments: Sequence[str]) -> int:
    """Run the training with a command line's arguments and return the exit code."""
    try:
        main(parse(Config, arguments, "toyworld.train_generator", __doc__ or "", program="python -m"))
    except WorldcriticError as error:
        print(f"toyworld.train_generator: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(command(sys.argv[1:]))
