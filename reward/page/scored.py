"""The scored videos of a report: rows of one or several score files, each with the generator that made it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reward.copying import scored_folder
from reward.errors import InputError
from reward.files import inside, read_jsonl
from reward.prompts import Prompt
from reward.scores import ScoreRow, load_scores, refuse_mixed_critics

ALL = "all videos"
"""What stands for the generator where there is one score file and nothing says who made its videos."""


@dataclass(frozen=True)
class Scored:
    """One scored video: its row, where the file lies (it may be missing), and the name of its generator."""

    row: ScoreRow
    path: Path
    generator: str


def load_scored(
    files: Sequence[Path], names: Sequence[str], videos: Path | None, manifest: Path | None
) -> list[Scored]:
    """Read score files; a file's rows belong to the generator that `names` gives it, or that its file name does.

    `manifest`, as `worldcritic score` takes it, names the generator of single videos. `videos` stands in for the
    folders that the files' run records name. Raises InputError for faulty rows, for files of two critics, for a path
    that leaves the folder and for names that do not fit the files.
    """
    if names and len(names) != len(files):
        raise InputError(f"--names gives {len(names)} names for {len(files)} score files")
    labels = list(names) or (_labels(files) if len(files) > 1 or manifest else [ALL])
    if len(set(labels)) != len(labels):
        raise InputError(f"two score files have the same name: {', '.join(labels)}; give --names")
    by_video = _generators(manifest)
    found = []
    for file, label in zip(files, labels, strict=True):
        folder = videos or scored_folder(file)
        for row in load_scores(file):
            path = inside(folder, row.video, row.where)
            found.append(Scored(row, path, by_video.get((row.prompt_id, row.video)) or label))
    refuse_mixed_critics([each.row for each in found])
    return found


def check_prompts(found: Sequence[Scored], prompts: Mapping[str, Prompt]) -> None:
    """Raise InputError for a row of a prompt that the prompt file lacks, or that was asked something else."""
    from reward.scoring import prompt_hash

    hashes = {identifier: prompt_hash(prompt) for identifier, prompt in prompts.items()}
    for each in found:
        row = each.row
        if row.prompt_id not in hashes:
            raise InputError(f"{row.where}: prompt id {row.prompt_id!r} is not in the prompt file")
        if row.prompt_sha256 not in (None, hashes[row.prompt_id]):
            raise InputError(f"{row.where}: prompt {row.prompt_id!r} asked other questions when this was scored")


def by_generator(found: Sequence[Scored]) -> dict[str, list[Scored]]:
    """Return the videos by generator, in the order in which these first appear."""
    groups = defaultdict(list)
    for each in found:
        groups[each.generator].append(each)
    return dict(groups)


def by_prompt(found: Sequence[Scored]) -> dict[str, list[Scored]]:
    """Return the videos by prompt id, in the order in which these first appear."""
    groups = defaultdict(list)
    for each in found:
        groups[each.row.prompt_id].append(each)
    return dict(groups)


def _labels(files: Sequence[Path]) -> list[str]:
    """Return the files' stems, or their folders' names where the stems are the same."""
    stems = [file.stem for file in files]
    if len(set(stems)) == len(stems):
        return stems
    return [file.resolve().parent.name for file in files]


def _generators(manifest: Path | None) -> dict[tuple[str, str], str]:
    found = {}
    for number, row in read_jsonl(manifest, "video manifest") if manifest else ():
        identifier, video, generator = (row.get(key) for key in ("prompt_id", "video", "generator"))
        if not isinstance(identifier, str) or not isinstance(video, str) or not isinstance(generator, str | None):
            raise InputError(f"{manifest}:{number}: needs the strings 'prompt_id' and 'video', and 'generator' if any")
        if generator:
            found[identifier, video] = generator
    return found
