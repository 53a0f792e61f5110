"""Finding and loading generators: a folder, a model on the hub, or a name that an installed package gives.

A package offers a generator under a short name by an entry point in the group "worldcritic.generators" that points to
a callable returning the folder of a saved diffusers pipeline; `toyworld` is such a name.
"""

import hashlib
import importlib
import re
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reward.errors import InputError
from reward.files import read_json
from reward.loading import torch_device

if TYPE_CHECKING:
    from rl.families.family import Family

ENTRY_POINTS = "worldcritic.generators"
FAMILIES = {
    "WanPipeline": ("rl.families.wan", "Wan"),
    "LTXPipeline": ("rl.families.ltx", "Ltx"),
    "CogVideoXPipeline": ("rl.families.cogvideox", "CogVideoX"),
    "HunyuanVideoPipeline": ("rl.families.hunyuan", "Hunyuan"),
}
"""Pipeline class of diffusers -> module and class of its family."""

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_FILES = ["*.json", "*/*.json", "*/*.safetensors", "*/*.model", "*/*.txt", "*/*.jinja"]
_TEXT = ("text_encoder", "text_encoder_2")
_BLOCKS, _BLOCK = 64, 2**16


def find_generator(name: str, revision: str | None = None) -> Path:
    """Return the folder of a generator, downloading it from the hub if it is neither a short name nor a folder here."""
    for entry_point in entry_points(group=ENTRY_POINTS, name=name):
        return Path(entry_point.load()())
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    short = ", ".join(sorted(entry_points(group=ENTRY_POINTS).names)) or "none"
    if folder.exists() or not _REPOSITORY.fullmatch(name):
        raise InputError(
            f"generator {name!r} is not a folder, and cannot be a model on the hub; short names are: {short}"
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=_FILES))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"generator {name!r} is not a folder here, and the hub does not give it: {reason}; short names are: {short}"
        ) from None


def pipeline_class(folder: Path) -> str:
    """Return the pipeline class that a folder's model_index.json names; InputError if the adapter does not know it."""
    index = read_json(folder / "model_index.json", "pipeline index")
    name = index.get("_class_name") if isinstance(index, dict) else None
    if name not in FAMILIES:
        raise InputError(f"generator {folder}: pipeline {name} is not known; known are {', '.join(FAMILIES)}")
    return str(name)


def family_of(pipe: Any) -> "Family":
    """Return the family of a loaded pipeline; InputError if the adapter does not know it."""
    kind = type(pipe).__name__
    if kind not in FAMILIES:
        raise InputError(f"pipeline {kind} is not known; known are {', '.join(FAMILIES)}")
    module, name = FAMILIES[kind]
    family: Family = getattr(importlib.import_module(module), name)(pipe)
    return family


def load_pipeline(folder: Path, *, device: str, dtype: str, text: bool) -> Any:
    """Load the stock pipeline in a folder, from safetensors alone; `text=False` leaves its text encoders out."""
    import diffusers
    import torch

    kind = pipeline_class(folder)
    where = torch_device(device)
    number = (torch.bfloat16 if where.type == "cuda" else torch.float32) if dtype == "auto" else getattr(torch, dtype)
    module, name = FAMILIES[kind]
    precise = getattr(importlib.import_module(module), name).precise_vae
    index = read_json(folder / "model_index.json", "pipeline index")
    without = {} if text else {part: None for part in _TEXT if part in index}
    try:
        pipe = getattr(diffusers, kind).from_pretrained(
            folder,
            dtype={"default": number, "vae": torch.float32} if precise else number,
            use_safetensors=True,
            local_files_only=True,
            **without,
        )
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"generator {folder}: cannot be loaded: {' '.join(str(error).split())[:300]}") from None
    return pipe.to(where)


def fingerprint_of(folder: Path) -> str:
    """Return a SHA-256 over the configs and weights of everything in a pipeline's folder but its scheduler.

    Of each weight file it takes the size and 64 blocks of 64 KiB spread evenly over it, so that a generator of 60 GB
    is told from its fine-tuned version in a second.
    """
    digest = hashlib.sha256()
    index = read_json(folder / "model_index.json", "pipeline index")
    parts = [folder / part for part in sorted(index) if part != "scheduler" and (folder / part).is_dir()]
    for path in [folder / "model_index.json", *(file for part in parts for file in sorted(part.iterdir()))]:
        if path.suffix not in (".json", ".safetensors", ".model"):
            continue
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder).as_posix()}\0{size}\0".encode())
        with path.open("rb") as file:
            if size <= _BLOCKS * _BLOCK:
                digest.update(file.read())
                continue
            for i in range(_BLOCKS):
                file.seek((size - _BLOCK) * i // (_BLOCKS - 1))
                digest.update(file.read(_BLOCK))
    return digest.hexdigest()
