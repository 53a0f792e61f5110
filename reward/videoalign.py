"""VideoAlign's pair CSV: `path_A, path_B, prompt`, labels `VQ, MQ, TA` in A, B or same, frame rates and frame counts.

Its three aspects are visual quality, motion quality and text alignment. What a critic prefers is how well a video
follows its prompt and the world, so a mined pair is written as TA, with VQ and MQ "same": train with `--eval_dim TA`.
Labels of people that were read from such a file are written back as they were.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from reward.errors import InputError
from reward.files import check_id, existing, read_text, sha256_json, write_atomic
from reward.found_pairs import Found, fault, imported_side, limited, prompt_id, prompt_ids
from reward.preference_pairs import PreferencePair, Side, file_name
from reward.progress import Progress

DATA = "data.csv"
ASPECTS = ("VQ", "MQ", "TA", "Overall")
_LABELS = ("A", "B", "same")
_REQUIRED = ("path_A", "path_B", "prompt")
_COLUMNS = (*_REQUIRED, "VQ", "MQ", "TA", "fps_A", "num_frames_A", "fps_B", "num_frames_B", "prompt_id")


def from_videoalign(path: Path, videos: Path | None, aspect: str | None, limit: int | None) -> Found:
    """Read a pair CSV; `aspect` decides, by default the video that more of its aspects prefer, ties else.

    Paths are relative to `videos`, by default the CSV's folder. A prompt's id is its `prompt_id` column, or made of
    the text's hash. Raises InputError naming the line for a missing column, a label that is none, and a video that is
    missing or outside.
    """
    folder = existing(videos or path.parent, "videos folder")
    pairs: list[PreferencePair] = []
    ties: list[PreferencePair] = []
    rejected: Counter[str] = Counter()
    seen: set[tuple[str, frozenset[str]]] = set()
    rows = list(limited(_rows(path, aspect), limit))
    with Progress(len(rows), "reading pairs") as progress:
        for where, row in rows:
            a, b = (imported_side(row[f"path_{each}"] or "", folder, where) for each in ("A", "B"))
            votes = {name: row[name] or "" for name in ASPECTS if row.get(name)}
            pair, tie = _pair(_id(row, where), row["prompt"] or "", (a, b), votes, aspect)
            if reason := fault(pair, seen):
                rejected[reason] += 1
            else:
                (ties if tie else pairs).append(pair)
            progress.advance()
    return Found(pairs, ties, len(rows), rejected, {"videoalign": path}, {"prompts": len(prompt_ids(pairs, ties))})


def _rows(path: Path, aspect: str | None) -> Iterator[tuple[str, Mapping[str, str | None], str]]:
    """Yield (where, row, prompt)."""
    reader = csv.DictReader(io.StringIO(read_text(path, "VideoAlign CSV"), newline=""))
    present = [name for name in ASPECTS if name in (reader.fieldnames or ())]
    missing = [name for name in (*_REQUIRED, *([aspect] if aspect else ())) if name not in (reader.fieldnames or ())]
    if missing or not present:
        raise InputError(f"{path}: column missing: {', '.join(missing) or 'one of ' + ', '.join(ASPECTS)}")
    for row in reader:
        where = f"{path}:{reader.line_num}"
        if None in row or any(not row[name] for name in _REQUIRED):
            raise InputError(f"{where}: {', '.join(_REQUIRED)} must be filled, and no cell follow the last column")
        for name in present:
            if row[name] not in (*_LABELS, "", None):
                raise InputError(f"{where}: column {name!r} must be A, B or same, not {row[name]!r}")
        if not any(row[name] for name in ([aspect] if aspect else present)):
            raise InputError(f"{where}: no label in {aspect or ', '.join(present)}")
        yield where, row, row["prompt"] or ""


def _id(row: Mapping[str, str | None], where: str) -> str:
    given = row.get("prompt_id")
    return check_id(given, where) if given else prompt_id(row["prompt"] or "")


def _pair(
    identifier: str, prompt: str, sides: tuple[Side, Side], votes: Mapping[str, str], aspect: str | None
) -> tuple[PreferencePair, bool]:
    """Return the pair of A and B, and whether it is a tie."""
    deciding = [votes[aspect]] if aspect else list(votes.values())
    lead = deciding.count("A") - deciding.count("B")
    names = {"A": "rejected", "B": "chosen"} if lead < 0 else {"A": "chosen", "B": "rejected"}
    labels = {name: names.get(label, "same") for name, label in votes.items()}
    chosen, rejected = sides[::-1] if lead < 0 else sides
    return PreferencePair(identifier, prompt, chosen, rejected, labels=labels), lead == 0


def write_videoalign(out: Path, pairs: Sequence[PreferencePair], ties: Sequence[PreferencePair]) -> None:
    """Write `data.csv`, ties as "same"; which of a pair is A is decided by the hash, so that A wins half of them.

    Raises VideoError for a video whose frame rate cannot be read.
    """
    from reward.video.clip import VideoLimits
    from reward.video.strict import read_index

    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for pair, tie in [*((pair, False) for pair in pairs), *((pair, True) for pair in ties)]:
        swap = int(sha256_json([pair.prompt_id, pair.chosen.sha256, pair.rejected.sha256])[0], 16) % 2
        names = {"chosen": "AB"[swap], "rejected": "BA"[swap], "same": "same"}
        labels = pair.labels or {"TA": "same" if tie else "chosen"}
        row = {name: names[labels.get(name, "same")] for name in ("VQ", "MQ", "TA")}
        row |= {"prompt": pair.prompt, "prompt_id": pair.prompt_id}
        for kind, side in (("chosen", pair.chosen), ("rejected", pair.rejected)):
            index = read_index(side.path, VideoLimits())
            row |= {f"path_{names[kind]}": f"./{file_name(side)}", f"fps_{names[kind]}": f"{index.fps:g}"}
            row |= {f"num_frames_{names[kind]}": str(len(index.times))}
        writer.writerow(row)
    write_atomic(out / DATA, text.getvalue())
