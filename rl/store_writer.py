"""Writing a rollout store: a clip's files first, whole, then its row in the index."""

import dataclasses
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from reward.errors import InputError
from reward.files import append_jsonl, check_id, heal_jsonl, sha256_file, write_atomic, write_json, write_jsonl
from rl.store import CONDITIONS, HEADER, LATENTS, MANIFEST, Header, Rollout, condition_path, in_order, read_rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from rl.generator import Condition


class StoreWriter:
    """Adds clips to a store, one index file per shard. A clip counts from the moment that its row is written."""

    def __init__(self, path: Path, header: Header, index: Path) -> None:
        self.path, self.header, self.index = path, header, index
        heal_jsonl(index)

    def add(self, prompt: tuple[str, str], candidate: int, seed: int, clip: "tuple[Tensor, NDArray[np.uint8]]") -> None:
        """Write the files of a clip, latents and uint8 frames (T, H, W, 3), then its row; `prompt` is id and text."""
        from safetensors.torch import save

        from reward.video import write_video

        latents, frames = clip
        stem = f"{prompt[0]}/{candidate:04d}"
        video, tensors = self.path / f"{stem}.mp4", self.path / f"{stem}.safetensors"
        write_atomic(tensors, save({LATENTS: latents.float().cpu().contiguous()}))
        write_video(video, frames, self.header.sampling.fps, crf=self.header.crf)
        row = Rollout(
            prompt_id=prompt[0],
            prompt=prompt[1],
            candidate=candidate,
            seed=seed,
            video=f"{stem}.mp4",
            sha256=sha256_file(video),
            latents=f"{stem}.safetensors",
            latents_sha256=sha256_file(tensors),
        )
        append_jsonl(self.index, dataclasses.asdict(row))


def check_prompt_id(identifier: str) -> str:
    """Return a prompt id that can name a folder beside the store's own files; InputError for another."""
    if identifier == CONDITIONS or identifier.endswith((".json", ".jsonl")):
        raise InputError(f"prompt id {identifier!r} is a name that a rollout store uses itself; rename it")
    return check_id(identifier, "prompt id")


def write_header(path: Path, header: Header) -> None:
    """Write store.json."""
    write_json(path / HEADER, header.to_json())


def write_manifest(path: Path, generator: str) -> int:
    """Write videos.jsonl from all index files, and return how many clips there are."""
    rows = [row for row in in_order(read_rows(path)) if (path / row.video).exists()]
    write_jsonl(
        path / MANIFEST, ({"prompt_id": row.prompt_id, "video": row.video, "generator": generator} for row in rows)
    )
    return len(rows)


def save_condition(path: Path, name: str, prompt: str, condition: "Condition") -> None:
    """Write what a prompt was encoded to, and the prompt's text beside it."""
    from safetensors.torch import save

    tensors = {key: value.contiguous() for key, value in condition.items()}
    write_atomic(condition_path(path, name), save(tensors, metadata={"prompt": prompt}))


def has_condition(path: Path, name: str, prompt: str) -> bool:
    """Return whether a prompt's condition is there, and of this text."""
    from safetensors import SafetensorError, safe_open

    file = condition_path(path, name)
    try:
        with safe_open(file, framework="pt") as tensors:
            return bool((tensors.metadata() or {}).get("prompt") == prompt)
    except (FileNotFoundError, SafetensorError):
        return False


def discard(path: Path) -> None:
    """Forget a store's clips and conditions; their files are written over as they are made again."""
    for index in path.glob("index*.jsonl"):
        index.unlink()
    shutil.rmtree(path / CONDITIONS, ignore_errors=True)
