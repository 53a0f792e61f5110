"""`worldcritic.json`: everything that a critic's answers depend on, saved beside its weights and checked on loading."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from reward.config import config
from reward.errors import InputError
from reward.files import read_json, sha256_file, sha256_json, write_json

FILE_NAME = "worldcritic.json"
SCHEMA_VERSION: Literal[1] = 1

Share = Annotated[float, pydantic.Field(ge=0, le=1)]
Count = Annotated[int, pydantic.Field(ge=1)]


@config
class FramesRecord:
    """How clips are sampled: a number of frames spread over the clip, or frames per second."""

    num_frames: Count | None = None
    fps: Annotated[float, pydantic.Field(gt=0)] | None = None
    max_frames: Count = 768


@config
class PixelsRecord:
    """Pixel limits of one resized frame, and the normalisation of values in [0, 1]."""

    min_pixels: Count
    max_pixels: Count
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@config
class Manifest:
    """What a saved critic is. `weights` maps file names to SHA-256; `wording` is the hash of the question texts.

    `trained` is false for weights that were never trained; `min_answer_mass` is the least probability of all answer
    tokens together at which an answer counts.
    """

    name: str
    model_type: str
    frames: FramesRecord
    pixels: PixelsRecord
    wording: str
    yes: tuple[int, ...]
    no: tuple[int, ...]
    dimensions: tuple[str, ...]
    schema_version: Literal[1] = SCHEMA_VERSION
    trained: bool = True
    min_answer_mass: Share = 0.1
    base_model: str | None = None
    base_revision: str | None = None
    weights: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """The hash that a calibration is bound to."""
        return sha256_json(dataclasses.asdict(self))


def read_manifest(folder: Path) -> Manifest | None:
    """Return a folder's manifest, or None where it has none; InputError naming the key if it is not a valid one."""
    path = folder / FILE_NAME
    if not path.exists():
        return None
    return parse_manifest(read_json(path, "critic manifest"), str(path))


def parse_manifest(record: Any, where: str) -> Manifest:
    """Return a manifest from its JSON object; InputError naming `where` and the key."""
    version = record.get("schema_version") if isinstance(record, dict) else None
    if version != SCHEMA_VERSION:
        raise InputError(f"{where}: schema version {version!r} is not {SCHEMA_VERSION}, the one this version reads")
    try:
        return pydantic.TypeAdapter(Manifest).validate_python(record)
    except pydantic.ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(map(str, fault["loc"]))
        raise InputError(f"{where}: key {key!r}: {fault['msg']}") from None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Save a manifest into a critic's folder."""
    write_json(folder / FILE_NAME, dataclasses.asdict(manifest))


def weight_hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every safetensors file in a folder, by name."""
    return {path.name: sha256_file(path) for path in sorted(folder.glob("*.safetensors"))}


def check_weights(folder: Path, manifest: Manifest) -> None:
    """Raise InputError with both hashes if the weights in a folder are not those of its manifest."""
    found = weight_hashes(folder)
    for name in sorted({*found, *manifest.weights}):
        if found.get(name) != manifest.weights.get(name):
            raise InputError(
                f"critic {folder}: {name} does not match its manifest: the manifest says "
                f"{_short(manifest.weights.get(name))}, the file is {_short(found.get(name))}; "
                "get the critic again, or save it with save_pretrained if you changed it"
            )


def same(what: str, recorded: Any, actual: Any, where: str) -> None:
    """Raise InputError if what a manifest records is not what this code and this tokenizer give."""
    if recorded != actual:
        raise InputError(f"{where}: the manifest's {what} is {_short(recorded)}, here it is {_short(actual)}")


def _short(value: Any) -> str:
    return (
        "absent"
        if value is None
        else f"{value[:12]}..."
        if isinstance(value, str) and len(value) == 64
        else repr(value)
    )
