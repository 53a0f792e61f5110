"""What a critic was trained on, saved in its folder, so that it is never calibrated or judged on the same prompts."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from reward.errors import InputError
from reward.files import read_json, write_json

FILE_NAME = "training.json"
_SHOWN = 5


@dataclass(frozen=True)
class TrainingRecord:
    """Prompt ids and SHA-256 of the video files that a critic has learned from (not those only used to select it)."""

    prompt_ids: frozenset[str] = frozenset()
    video_sha256: frozenset[str] = frozenset()

    def has_seen(self, prompt_id: str, video_sha256: str | None) -> bool:
        """Return whether the critic has learned from a prompt or a video file."""
        return prompt_id in self.prompt_ids or video_sha256 in self.video_sha256

    def refuse_seen(self, prompt_ids: Iterable[str], video_sha256: Iterable[str], purpose: str) -> None:
        """Raise InputError naming the first prompts, or videos, that the critic was trained on.

        `purpose` says what they were wanted for: "calibrate on".
        """
        for what, seen in (
            ("prompt ids", self.prompt_ids & set(prompt_ids)),
            ("video files", self.video_sha256 & set(video_sha256)),
        ):
            if seen:
                names = ", ".join(sorted(seen)[:_SHOWN]) + (", ..." if len(seen) > _SHOWN else "")
                raise InputError(
                    f"the critic was trained on {len(seen)} of the {what} to {purpose}: {names}; "
                    "take labels of other prompts, such as the validation or test split"
                )


def write_training(folder: Path, record: TrainingRecord) -> None:
    """Save a training record into a critic's folder."""
    lists = {"prompt_ids": sorted(record.prompt_ids), "video_sha256": sorted(record.video_sha256)}
    write_json(folder / FILE_NAME, {"schema_version": 1, **lists})


def read_training(folder: Path) -> TrainingRecord | None:
    """Return the training record in a critic's folder, None where it has none; InputError if it is not a valid one."""
    path = folder / FILE_NAME
    if not path.exists():
        return None
    record = read_json(path, "training record")
    if not isinstance(record, dict):
        raise InputError(f"{path}: not a training record")
    lists = []
    for key in ("prompt_ids", "video_sha256"):
        values = record.get(key)
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise InputError(f"{path}: key {key!r} must be a list of strings")
        lists.append(frozenset(values))
    return TrainingRecord(*lists)
