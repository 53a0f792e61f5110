"""Copy the picked videos into a folder, one per prompt, each whole or not at all."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from reward.errors import InputError
from reward.files import check_outputs, existing, inside, read_json, sha256_file
from reward.scores import ScoreRow


def plan_copies(
    winners: Sequence[ScoreRow], videos: Path, folder: Path | None, overwrite: bool
) -> list[tuple[Path, Path]]:
    """Return (source, target) pairs, `<folder>/<prompt id><suffix>` for each winner; none without a folder.

    Raises InputError, before anything is copied, for a missing or changed video (its SHA-256 is not that of the score
    row), a path outside `videos`, and a target that exists.
    """
    if folder is None:
        return []
    if not existing(videos, "video folder").is_dir():
        raise InputError(f"--videos {videos} is a file; name the folder")
    copies = [(scored_video(row, videos), folder / f"{row.prompt_id}{Path(row.video).suffix}") for row in winners]
    check_outputs([target for _, target in copies], [source for source, _ in copies], overwrite)
    return copies


def scored_folder(scores: Path) -> Path:
    """Return the folder of videos that a score file's run record names, or the score file's own folder."""
    run = scores.with_name(scores.name + ".run.json")
    recorded = read_json(run, "run record").get("videos_folder") if run.exists() else None
    return Path(recorded) if recorded else scores.parent


def scored_video(row: ScoreRow, videos: Path) -> Path:
    """Return the path of a scored video below `videos`; InputError if it is missing, outside or has changed since."""
    source = inside(videos, row.video, row.where)
    if not source.exists():
        raise InputError(f"{row.where}: video {source} does not exist; --videos names the folder that was scored")
    if not source.is_file():
        raise InputError(f"{row.where}: video {source} is not a file")
    if row.sha256 is not None and sha256_file(source) != row.sha256:
        raise InputError(
            f"{row.where}: video {source} is not the one that was scored: its SHA-256 differs; score again"
        )
    return source


def copy_winners(copies: Sequence[tuple[Path, Path]]) -> None:
    """Copy each source to its target; an interrupted copy leaves no target."""
    for source, target in copies:
        place(source, target, link=False)


def place(source: Path, target: Path, link: bool) -> None:
    """Put a file at `target`, as a hard link where asked for and possible, else as a copy; whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        if not (link and _linked(source, temporary)):
            shutil.copyfile(source, temporary)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _linked(source: Path, target: Path) -> bool:
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system, or one without links
        return False
    return True
