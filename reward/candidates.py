"""Which videos belong to which prompts: a folder in either layout, or a manifest file."""

import hashlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from reward.errors import InputError
from reward.files import existing, inside, read_jsonl
from reward.options import VideoOptions
from reward.prompts import Prompt, load_prompts

_SHOWN = 10
VIDEO_SUFFIXES = (".mp4", ".webm", ".mkv", ".mov", ".avi", ".m4v", ".gif", ".ts")


@dataclass(frozen=True)
class Candidate:
    """One video for one prompt; `video` is its path relative to the folder of videos, with forward slashes.

    `generator` names what made it, where a manifest says so.
    """

    prompt: Prompt
    video: str
    path: Path
    generator: str | None = None


@dataclass(frozen=True)
class Candidates:
    """Videos in prompt order, then by name; prompt ids without a video; video files that belong to no prompt."""

    found: tuple[Candidate, ...]
    without_video: tuple[str, ...]
    unmatched: tuple[str, ...]


def locate_candidates(options: VideoOptions) -> Candidates:
    """Return the videos that a verb's options name, in a folder or a manifest; InputError as the two ways raise it."""
    prompts = load_prompts(options.prompts)
    if options.manifest is not None:
        return read_candidates(prompts, options.manifest, options.videos)
    return find_candidates(prompts, options.videos_folder)


def find_candidates(prompts: Mapping[str, Prompt], videos: Path) -> Candidates:
    """Look through a folder for `<prompt id>.mp4` and `<prompt id>/<anything>.mp4` (or another video suffix).

    Raises InputError if there is no such folder, or a link in it leaves it.
    """
    if not existing(videos, "videos folder").is_dir():
        raise InputError(f"--videos {videos} is not a folder")
    found: dict[str, list[Candidate]] = {identifier: [] for identifier in prompts}
    unmatched = []
    for path in sorted(_video_files(videos)):
        name = path.relative_to(videos).as_posix()
        identifier = path.stem if path.parent == videos else path.parent.name
        if identifier in prompts:
            found[identifier].append(Candidate(prompts[identifier], name, inside(videos, name, "--videos")))
        else:
            unmatched.append(name)
    in_order = tuple(candidate for each in found.values() for candidate in each)
    return Candidates(in_order, tuple(i for i, each in found.items() if not each), tuple(unmatched))


def read_candidates(prompts: Mapping[str, Prompt], manifest: Path, root: Path | None) -> Candidates:
    """Read JSONL rows `{"prompt_id", "video"}`, with a "generator" if it is known.

    Videos are relative to `root`, by default the manifest's folder. Raises InputError naming the line for an unknown
    prompt, a path that leaves the root, or a row given twice. Files that do not exist stay in, so that their rows say
    so.
    """
    root = root or manifest.parent
    lines: dict[tuple[str, str], int] = {}
    found = []
    for number, row in read_jsonl(manifest, "video manifest"):
        where = f"{manifest}:{number}"
        identifier, video = row.get("prompt_id"), row.get("video")
        if not isinstance(identifier, str) or not isinstance(video, str):
            raise InputError(f"{where}: needs the strings 'prompt_id' and 'video'")
        generator = row.get("generator")
        if not isinstance(generator, str | None):
            raise InputError(f"{where}: field 'generator' must be a string, got {type(generator).__name__}")
        if identifier not in prompts:
            raise InputError(f"{where}: prompt id {identifier!r} is not in the prompt file")
        if (identifier, video) in lines:
            raise InputError(f"{where}: {video} for {identifier} is already in line {lines[identifier, video]}")
        lines[identifier, video] = number
        found.append(Candidate(prompts[identifier], video, inside(root, video, where), generator))
    order = {identifier: i for i, identifier in enumerate(prompts)}
    found.sort(key=lambda candidate: order[candidate.prompt.id])
    with_video = {candidate.prompt.id for candidate in found}
    return Candidates(tuple(found), tuple(i for i in prompts if i not in with_video), ())


def in_shard(candidate: Candidate, num_shards: int, shard_index: int) -> bool:
    """Return whether a candidate belongs to a shard; all candidates of a prompt belong to the same."""
    digest = hashlib.sha256(candidate.prompt.id.encode()).digest()
    return int.from_bytes(digest[:8]) % num_shards == shard_index


def say_missing(candidates: Candidates) -> None:
    """Print to stderr what is missing and what is left over, before anything starts."""
    missing = [candidate.video for candidate in candidates.found if not candidate.path.exists()]
    lists = {
        "prompts without a video": candidates.without_video,
        "files that do not exist": missing,
        "videos of no known prompt": candidates.unmatched,
    }
    for what, names in lists.items():
        if names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            print(f"{len(names)} {what}: {', '.join(names[:_SHOWN])}{more}", file=sys.stderr)


def _video_files(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from (each for each in path.iterdir() if _is_video(each))
        elif _is_video(path):
            yield path


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".") and not path.is_dir()
