"""The rollout store: clips that a generator made, kept so that they can be scored and trained on many times.

    store.json                          what made them: generator, fingerprint, sampling, noise levels, LoRA, versions
    index.jsonl                         a row per clip that is whole (index-00000-of-00004.jsonl with shards)
    videos.jsonl                        the same clips as a manifest for score, label and mine
    <prompt id>/0000.mp4                what a critic sees
    <prompt id>/0000.safetensors        final latents, fp32, in the transformer's normalised space
    conditions/<prompt id>.safetensors  what the transformer was given for the prompt; .negative for guidance

`worldcritic score --videos STORE` scores it in place.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reward.errors import InputError
from reward.files import check_id, existing, inside, parse_json, read_json, sha256_file
from rl.settings import Sampling, check_sampling

if TYPE_CHECKING:
    from torch import Tensor

    from rl.generator import Condition, Generator

SCHEMA = 1
HEADER, INDEX, MANIFEST, CONDITIONS = "store.json", "index.jsonl", "videos.jsonl", "conditions"
NEGATIVE = ".negative"
"""Name of the negative prompt's condition; no prompt id begins with a dot."""
LATENTS = "latents"
"""Name of the tensor in a latents file."""


@dataclass(frozen=True)
class Rollout:
    """One clip: paths are relative to the store; `sha256` is of the video file, `latents_sha256` of the latents'."""

    prompt_id: str
    prompt: str
    candidate: int
    seed: int
    video: str
    sha256: str
    latents: str
    latents_sha256: str

    @property
    def key(self) -> tuple[str, int]:
        """Prompt id and candidate number."""
        return self.prompt_id, self.candidate


@dataclass(frozen=True)
class Header:
    """What made the clips of a store. `levels` are the sampler's sigmas (flow) or indices of noise levels.

    `latent_shape` is that of one clip; `lora` has path and sha256 of the adapter's files; `seed` and `crf` are options
    of the verb.
    """

    generator: str
    family: str
    fingerprint: str
    sampling: Sampling
    levels: tuple[float, ...]
    latent_shape: tuple[int, ...]
    dtype: str
    seed: int
    crf: int
    lora: Mapping[str, Any] | None
    versions: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return the record in store.json."""
        return {"schema_version": SCHEMA, **dataclasses.asdict(self), "lora": self.lora and dict(self.lora)}


class RolloutStore:
    """A store, open for reading. `rows` are the clips that are whole, by prompt in index order, then by number."""

    def __init__(self, path: Path, header: Header, rows: tuple[Rollout, ...]) -> None:
        self.path, self.header, self.rows = path, header, rows

    @classmethod
    def open(cls, path: str | Path) -> "RolloutStore":
        """Open a store; InputError if it is none, or a row names something outside it."""
        path = Path(path)
        if not (path / HEADER).exists():
            raise InputError(f"{path} is not a rollout store: it holds no {HEADER}; make one by `worldcritic sample`")
        return cls(path, read_header(path), tuple(in_order(read_rows(path))))

    @property
    def sampling(self) -> Sampling:
        """The settings that the clips were sampled with."""
        return self.header.sampling

    def check(self, generator: "Generator") -> None:
        """Raise InputError unless this generator made the store, or another copy of it did."""
        for what, mine, other in (
            ("family", self.header.family, generator.family),
            ("fingerprint", self.header.fingerprint, generator.fingerprint),
        ):
            if mine != other:
                raise InputError(
                    f"store {self.path} was made by another generator: {what} {mine[:16]} ({self.header.generator}), "
                    f"and {generator.name} has {other[:16]}; its latents and conditions do not fit"
                )

    def latents(self, row: Rollout) -> "Tensor":
        """Return a clip's final latents, fp32, without batch dimension; InputError if they are not of the store."""
        path = inside(self.path, row.latents, f"store {self.path}")
        tensors = _load(path)
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        if shapes != {LATENTS: self.header.latent_shape}:
            raise InputError(f"{path}: holds {shapes}; a clip of this store has {LATENTS} {self.header.latent_shape}")
        return tensors[LATENTS]

    def condition(self, prompt_id: str) -> "Condition":
        """Return what the transformer was given for a prompt."""
        return load_condition(self.path, check_id(prompt_id, "prompt id"))

    def negative(self) -> "Condition":
        """Return the negative prompt's condition, for guidance."""
        return load_condition(self.path, NEGATIVE)

    def video(self, row: Rollout) -> Path:
        """Return the path of a clip's video."""
        return inside(self.path, row.video, f"store {self.path}")

    def verify(self, row: Rollout) -> None:
        """Raise InputError unless a clip's two files are the ones that were written."""
        for path, wanted in ((self.video(row), row.sha256), (self.path / row.latents, row.latents_sha256)):
            if sha256_file(existing(path, "rollout file")) != wanted:
                raise InputError(f"{path}: is not the file that the store's index names; make it again")


def read_header(path: Path) -> Header:
    """Read store.json; InputError naming what is wrong with it."""
    record = read_json(path / HEADER, "rollout store")
    where = str(path / HEADER)
    if not isinstance(record, dict) or record.pop("schema_version", None) != SCHEMA:
        raise InputError(f"{where}: is not a rollout store of version {SCHEMA}")
    fields = {field.name for field in dataclasses.fields(Header)}
    if set(record) != fields:
        raise InputError(f"{where}: must have exactly the keys {', '.join(sorted(fields))}")
    record["sampling"] = check_sampling(record["sampling"], f"{where}: sampling")
    return Header(**record | {key: tuple(record[key]) for key in ("levels", "latent_shape")})


def read_rows(path: Path) -> Iterator[Rollout]:
    """Yield the rows of all index files of a store, each clip once; a half-written last line is left out."""
    seen = set()
    fields = {field.name: field.type for field in dataclasses.fields(Rollout)}
    for index in sorted(path.glob("index*.jsonl")):
        whole, _, _ = index.read_bytes().rpartition(b"\n")
        for number, line in enumerate(whole.splitlines(), start=1):
            where = f"{index}:{number}"
            row = parse_json(line.decode(errors="replace"), where)
            if (
                not isinstance(row, dict)
                or set(row) != set(fields)
                or not all(type(row[name]) is kind for name, kind in fields.items())
            ):
                raise InputError(f"{where}: is not a row of a rollout store")
            rollout = Rollout(**row)
            check_id(rollout.prompt_id, where)
            for file in (rollout.video, rollout.latents):
                inside(path, file, where)
            if rollout.key not in seen:
                seen.add(rollout.key)
                yield rollout


def in_order(rows: Iterator[Rollout]) -> list[Rollout]:
    """Return rows by prompt, in the order in which prompts first appear, then by number."""
    found = list(rows)
    place = {identifier: i for i, identifier in enumerate(dict.fromkeys(row.prompt_id for row in found))}
    return sorted(found, key=lambda row: (place[row.prompt_id], row.candidate))


def load_condition(path: Path, name: str) -> "Condition":
    """Read a prompt's condition; InputError if there is none or it is damaged."""
    return _load(condition_path(path, name))


def condition_path(path: Path, name: str) -> Path:
    """Return the file of a prompt's condition."""
    return path / CONDITIONS / f"{name}.safetensors"


def _load(path: Path) -> "dict[str, Tensor]":
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Tensor] = load_file(existing(path, "rollout file"))
    except SafetensorError as error:
        raise InputError(f"{path}: is damaged: {error}; sample it again") from None
    return tensors
