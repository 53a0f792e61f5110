"""The pair record that every format is written from and read into, and our own format of it.

Ours is a `videofolder` of Hugging Face datasets: `metadata.jsonl` with `chosen_file_name` and `rejected_file_name`,
videos in `videos/` named by their SHA-256, so that a clip of several pairs is there once. `ties.jsonl` has the same
rows of pairs that are too close to call.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from reward.dimensions import NAMES
from reward.errors import InputError
from reward.fields import DimensionName, MaybeNumber, MaybePositive, MaybeProbability, valid_row
from reward.files import check_id, existing, inside, read_jsonl, write_jsonl

METADATA, TIES, VIDEOS = "metadata.jsonl", "ties.jsonl", "videos"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Side:
    """One video of a pair: its name as the source gave it (score row, CSV), where it lies, and its scores if any."""

    video: str
    path: Path
    sha256: str
    reward: float = math.nan
    reward_std: float = math.nan
    motion: float = math.nan
    scores: Mapping[str, float] = field(default_factory=dict)
    stds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class PreferencePair:
    """A prompt's chosen and rejected video; in a tie neither is.

    `probability` that chosen is better and `margin` are NaN where people compared; `labels` then says by aspect
    whether they took the "chosen", the "rejected" or the "same". `rule` and `dimension` are those of mining.
    """

    prompt_id: str
    prompt: str
    chosen: Side
    rejected: Side
    probability: float = math.nan
    margin: float = math.nan
    rule: str | None = None
    dimension: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


def file_name(side: Side) -> str:
    """Return where our format keeps a video. The hash keeps out names such as "test", which datasets makes a split."""
    return f"{VIDEOS}/{side.sha256}{Path(side.video).suffix.lower()}"


def files_by_hash(pairs: Sequence[PreferencePair], ties: Sequence[PreferencePair]) -> dict[str, Path]:
    """Return where each video lies, by its place in the folder."""
    return {file_name(side): side.path for pair in (*pairs, *ties) for side in (pair.chosen, pair.rejected)}


def write_videofolder(out: Path, pairs: Sequence[PreferencePair], ties: Sequence[PreferencePair]) -> None:
    """Write `metadata.jsonl` and `ties.jsonl`; the videos are placed by whoever calls."""
    aspects = list(dict.fromkeys(name for pair in (*pairs, *ties) for name in pair.labels))
    write_jsonl(out / TIES, typed_first([_row(pair, aspects) for pair in ties]))
    write_jsonl(out / METADATA, typed_first([_row(pair, aspects) for pair in pairs]))


def typed_first(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the rows with those in front that are the first to fill a cell, else in order.

    datasets takes the column types from the first 10 MB of a JSONL file, and a column that is null up to there is
    refused when a number follows.
    """
    seen: set[str] = set()
    front: list[Mapping[str, Any]] = []
    rest: list[Mapping[str, Any]] = []
    for row in rows:
        filled = {
            f"{key}.{name}"
            for key, value in row.items()
            for name, each in (value.items() if isinstance(value, Mapping) else [("", value)])
            if each is not None
        }
        (rest if filled <= seen else front).append(row)
        seen |= filled
    return front + rest


def _row(pair: PreferencePair, aspects: Sequence[str]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "prompt": pair.prompt,
        "prompt_id": pair.prompt_id,
        "chosen_file_name": file_name(pair.chosen),
        "rejected_file_name": file_name(pair.rejected),
        "rule": pair.rule,
        "dimension": pair.dimension,
        "margin": null(pair.margin),
        "probability": null(pair.probability),
    }
    for name, side in (("chosen", pair.chosen), ("rejected", pair.rejected)):
        row |= {
            f"{name}_reward": null(side.reward),
            f"{name}_reward_std": null(side.reward_std),
            f"{name}_motion": null(side.motion),
            f"{name}_scores": {each: null(side.scores.get(each, math.nan)) for each in NAMES},
            f"{name}_stds": {each: null(side.stds.get(each, math.nan)) for each in NAMES},
            f"{name}_video": side.video,
            f"{name}_sha256": side.sha256,
        }
    return row | ({"labels": {name: pair.labels.get(name) for name in aspects}} if aspects else {})


def null(value: float) -> float | None:
    """Return a number as JSON has it: None where there is none."""
    return float(value) if math.isfinite(value) else None


@dataclass(frozen=True)
class _Row:
    """A line of `metadata.jsonl`, for pydantic; keys beyond these are passed over."""

    prompt: str
    prompt_id: str
    chosen_file_name: str
    rejected_file_name: str
    chosen_video: str
    rejected_video: str
    chosen_sha256: str
    rejected_sha256: str
    rule: str | None = None
    dimension: str | None = None
    margin: MaybeNumber = math.nan
    probability: MaybeProbability = math.nan
    chosen_reward: MaybeNumber = math.nan
    rejected_reward: MaybeNumber = math.nan
    chosen_reward_std: MaybePositive = math.nan
    rejected_reward_std: MaybePositive = math.nan
    chosen_motion: MaybePositive = math.nan
    rejected_motion: MaybePositive = math.nan
    chosen_scores: Mapping[DimensionName, MaybeNumber] = field(default_factory=dict)
    rejected_scores: Mapping[DimensionName, MaybeNumber] = field(default_factory=dict)
    chosen_stds: Mapping[DimensionName, MaybePositive] = field(default_factory=dict)
    rejected_stds: Mapping[DimensionName, MaybePositive] = field(default_factory=dict)
    labels: Mapping[str, str | None] = field(default_factory=dict)

    def side(self, name: str, folder: Path, where: str) -> Side:
        """Return the chosen or the rejected video; InputError for a path that leaves the folder or a bad hash."""
        values = {each: getattr(self, f"{name}_{each}") for each in ("video", "sha256", "reward", "reward_std")}
        values |= {each: getattr(self, f"{name}_{each}") for each in ("motion", "scores", "stds")}
        if not _SHA256.fullmatch(values["sha256"]):
            raise InputError(f"{where}: field '{name}_sha256' is not 64 hex digits")
        return Side(path=inside(folder, getattr(self, f"{name}_file_name"), where), **values)


_ROW = TypeAdapter(_Row)


def load_pairs(folder: Path, name: str = METADATA) -> list[PreferencePair]:
    """Read the pairs that `worldcritic mine` wrote into a folder, in file order; `name` may be `ties.jsonl`.

    Raises InputError naming file, line and field for anything missing, mistyped or unsafe, and for a file without a
    pair. Whether the videos are there is not looked at.
    """
    path = existing(folder, "folder of pairs") / name
    pairs = []
    for number, record in read_jsonl(path, "pair file"):
        where = f"{path}:{number}"
        row = valid_row(_ROW, record, "a row of `worldcritic mine`", where)
        check_id(row.prompt_id, where)
        chosen, rejected = (row.side(each, folder, where) for each in ("chosen", "rejected"))
        pairs.append(
            PreferencePair(
                row.prompt_id, row.prompt, chosen, rejected, row.probability, row.margin, row.rule, row.dimension,
                {name: label for name, label in row.labels.items() if label is not None},
            )
        )  # fmt: skip
    if not pairs and name == METADATA:
        raise InputError(f"pair file {path} holds no pair; mine with milder options")
    return pairs
