"""VideoDPO's folder: `winvideos/`, `losevideos/`, `metadata.json` of videos and `pair.json` of indices into it.

Its loader takes `video1` for the winner whatever `label` says, and multiplies a pair's loss by something made of
`score`; we write 1 there, so that all pairs weigh the same, and our probability and margin beside it. It knows no ties.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from reward.errors import InputError
from reward.files import existing, read_json, write_json
from reward.found_pairs import Found, fault, imported_side, limited, prompt_id, prompt_ids
from reward.preference_pairs import PreferencePair, Side, null
from reward.progress import Progress

METADATA, PAIRS = "metadata.json", "pair.json"
WIN, LOSE = "winvideos", "losevideos"


def from_videodpo(folder: Path, videos: Path | None, limit: int | None) -> Found:
    """Read a VideoDPO folder; `videos` is the folder that clip paths are relative to, by default the same.

    Absolute clip paths, which its own scripts write, are read by their last two parts. Raises InputError naming the
    pair for anything missing, mistyped or outside the folder, also through a symbolic link.
    """
    root = existing(videos or folder, "videos folder")
    clips = _list(existing(folder, "VideoDPO folder") / METADATA)
    rows = list(limited(_rows(folder / PAIRS, len(clips)), limit))
    pairs: list[PreferencePair] = []
    rejected: Counter[str] = Counter()
    seen: set[tuple[str, frozenset[str]]] = set()
    with Progress(len(rows), "reading pairs") as progress:
        for where, row in rows:
            chosen, rejected_side = (_side(clips, row[key], folder, root) for key in ("video1", "video2"))
            prompt = _prompt(row, where)
            pair = PreferencePair(prompt_id(prompt), prompt, chosen, rejected_side)
            if reason := fault(pair, seen):
                rejected[reason] += 1
            else:
                pairs.append(pair)
            progress.advance()
    inputs = {"metadata": folder / METADATA, "pairs": folder / PAIRS}
    return Found(pairs, [], len(rows), rejected, inputs, {"prompts": len(prompt_ids(pairs))})


def _list(path: Path) -> list[Any]:
    records = read_json(path, "VideoDPO file")
    if not isinstance(records, list) or not records or not all(isinstance(record, dict) for record in records):
        raise InputError(f"{path}: must be a list of objects")
    return records


def _rows(path: Path, num_clips: int) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    for number, row in enumerate(_list(path), start=1):
        where = f"{path}: pair {number}"
        for key in ("video1", "video2"):
            index = row.get(key)
            if type(index) is not int or not 0 <= index < num_clips:
                raise InputError(f"{where}: field {key!r} must be a number from 0 to {num_clips - 1}, not {index!r}")
        yield where, row, _prompt(row, where)


def _prompt(row: Mapping[str, Any], where: str) -> str:
    caption = row.get("frame_caption")
    first = caption[0] if isinstance(caption, list) and caption else caption
    if not isinstance(first, str) or not first.strip():
        raise InputError(f"{where}: field 'frame_caption' must be the prompt's text")
    return first


def _side(clips: Sequence[Mapping[str, Any]], index: int, folder: Path, root: Path) -> Side:
    where = f"{folder / METADATA}: video {index}"
    basic = clips[index].get("basic")
    name = basic.get("clip_path") if isinstance(basic, dict) else None
    if not isinstance(name, str) or not name:
        raise InputError(f"{where}: field 'basic.clip_path' must be a string")
    path = PurePosixPath(name)
    return imported_side(str(PurePosixPath(*path.parts[-2:])) if path.is_absolute() else name, root, where)


def videodpo_files(pairs: Sequence[PreferencePair], _ties: Sequence[PreferencePair]) -> dict[str, Path]:
    """Return where each video lies, by its place in the folder: winner and loser of a pair have the same number."""
    return {name: side.path for i, pair in enumerate(pairs) for name, side in _named(i, pair)}


def _named(i: int, pair: PreferencePair) -> list[tuple[str, Side]]:
    sides = ((WIN, pair.chosen), (LOSE, pair.rejected))
    return [(f"{folder}/{i:06d}{Path(side.video).suffix.lower()}", side) for folder, side in sides]


def write_videodpo(out: Path, pairs: Sequence[PreferencePair], _ties: Sequence[PreferencePair]) -> None:
    """Write `metadata.json` and `pair.json`; VideoError for a video whose length cannot be read."""
    from reward.video.clip import VideoLimits
    from reward.video.strict import read_index

    clips = [
        {
            "basic": {
                "clip_duration": round(read_index(side.path, VideoLimits()).duration, 6),
                "clip_path": name,
                "globalidx": i,
            },
            "misc": {"frame_caption": [pair.prompt]},
        }
        for i, pair in enumerate(pairs)
        for name, side in _named(i, pair)
    ]
    records = [
        {
            "video1": 2 * i,
            "video2": 2 * i + 1,
            "label": 0,
            "frame_caption": pair.prompt,
            "score": 1.0,
            "probability": null(pair.probability),
            "margin": null(pair.margin),
        }
        for i, pair in enumerate(pairs)
    ]
    write_json(out / METADATA, clips)
    write_json(out / PAIRS, records)
