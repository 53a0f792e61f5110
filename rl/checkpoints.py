"""Checkpoints: tensors in safetensors, the rest in JSON, in a folder that is there whole or not at all."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from reward.errors import InputError
from reward.files import read_json, write_json

FOLDER, TENSORS, RECORD = "checkpoints", "state.safetensors", "state.json"
SCHEMA_VERSION = 1


def save_checkpoint(out: Path, step: int, tensors: Mapping[str, Tensor], record: Mapping[str, Any], keep: int) -> None:
    """Write the state after `step` steps, then drop all but the last `keep` checkpoints."""
    folder = out / FOLDER / f"step-{step:06d}"
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, temporary / TENSORS)
    write_json(temporary / RECORD, {"schema_version": SCHEMA_VERSION, "step": step, **record})
    if folder.exists():  # a resumed run comes by the same step again
        shutil.rmtree(folder)
    temporary.rename(folder)
    for old in _checkpoints(out)[:-keep]:
        shutil.rmtree(old)


def last_checkpoint(out: Path) -> Path:
    """Return the folder of the last checkpoint; InputError if there is none."""
    found = _checkpoints(out)
    if not found:
        raise InputError(f"--resume: {out} holds no checkpoint; start without --resume")
    return found[-1]


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors and record of a checkpoint."""
    record = read_json(folder / RECORD, "checkpoint")
    if record.get("schema_version") != SCHEMA_VERSION:
        raise InputError(f"{folder}: checkpoint of schema {record.get('schema_version')}, this is {SCHEMA_VERSION}")
    return load_file(folder / TENSORS), record


def _checkpoints(out: Path) -> list[Path]:
    return sorted((out / FOLDER).glob("step-*"))
