"""Negatives from frozen clips: a training video's first frame, shown for as long as the video, and what it cannot show.

A critic that judges by looks pays for a frozen clip; these rows teach it that nothing happens there. Only what is
certain without watching is asked: no event happens; a yes/no question of a dimension of motion that names a change
("Does the ball fall down?") is answered No, unless it also speaks of staying, stopping, or of nothing at all; a
still camera is answered Yes. What a still picture may show (colours, layout, depth, common sense) is not asked. A verb
may be meant as a state ("Does the road turn left?"), so that the rows are marked, weigh less, and have a soft target.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from distill.rows import Row
from reward.files import sha256_file
from reward.wording import NONE

DIMENSIONS = frozenset({"mechanics", "interaction", "material_properties"})
TEACHER = "frozen clip"
FOLDER = "frozen"

_VERBS = """
fall drop rise float sink move roll slide bounce jump fly swing spin rotate turn tip topple collapse melt freeze boil
bubble burn ignite explode evaporate dissolve break shatter crack splash spill pour drip swell inflate deflate shrink
expand stretch bend flatten become collide hit push pull throw catch kick pan zoom tilt dolly
"""
_FORMS = {
    form
    for verb in _VERBS.split()
    for stem in (verb, verb.removesuffix("e"), verb + verb[-1])
    for form in (verb, verb + "s", verb + "es", stem + "ing", stem + "ed")
} | {"falls", "thrown", "broken", "struck"}
_CHANGE = re.compile(rf"\b({'|'.join(sorted(_FORMS))})\b")
_STATE = re.compile(
    r"\b(stays?|remains?|keeps?|kept|rests?|still|static|steady|stable|fixed|stationary|locked|stops?|stands?|lies?|"
    r"hangs?|holds?|before|until|no|not|never|none|nothing|neither|nor|without|all|every|each|any|only|if)\b"
)
_STILL_CAMERA = re.compile(r"(does|is) the camera (stay |remain |keep )?(still|static|steady|fixed|stationary)\W*")


def certain_answer(row: Row) -> str | None:
    """Return what is true of a row's question in a frozen clip: Yes, No, or None for an order; None if not certain."""
    text = row.question.casefold().strip()
    if row.kind == "order":
        events = [event.casefold() for event in row.events or ()]
        return NONE if events and not any(map(_STATE.search, events)) else None
    if row.dimension == "camera_control" and _STILL_CAMERA.fullmatch(text):
        return "Yes"
    if row.dimension not in DIMENSIONS and not (row.dimension == "camera_control" and "does the camera " in text):
        return None
    asks_change = text.startswith(("does ", "do ")) and _CHANGE.search(text) and not _STATE.search(text)
    return "No" if asks_change else None


def frozen_rows(
    rows: Sequence[Row], folder: Path, *, share: float, weight: float, doubt: float, seed: int
) -> list[Row]:
    """Write frozen copies of about `share` of the rows' videos into `folder`, and return the rows that are certain.

    The choice is by hash. A check's soft target is `doubt` away from its answer. A copy that is there already is kept:
    it is named by the video's content. Raises VideoError for a video that cannot be read.
    """
    videos: dict[str, list[Row]] = {}
    for row in rows:
        if not row.mismatched and certain_answer(row) is not None:
            videos.setdefault(row.content, []).append(row)
    chosen = sorted(videos, key=lambda content: _digest(f"{seed} {content}"))[: round(share * len(videos))]
    made = []
    for content in (each for each in videos if each in set(chosen)):
        path = folder / f"{_digest(content)[:32]}.mp4"
        if not path.exists():
            _freeze(Path(videos[content][0].video_path), path)
        digest = sha256_file(path)
        made += [_row(row, path, digest, weight, doubt) for row in videos[content]]
    return made


def _row(row: Row, path: Path, digest: str, weight: float, doubt: float) -> Row:
    answer = certain_answer(row)
    assert answer is not None
    p_yes = {"Yes": 1 - doubt, "No": doubt}.get(answer, np.nan)
    return replace(
        row, video_path=str(path), sha256=digest, target=answer, teacher_p=p_yes, weight=weight, teacher=TEACHER,
        frozen=True,
    )  # fmt: skip


def _freeze(video: Path, copy: Path) -> None:
    """Write a clip that shows a video's first frame, as long and at the same rate."""
    from reward.video import FrameSampling, read_video, write_video

    clip = read_video(video, FrameSampling(num_frames=2))
    rate = min(max(clip.fps, 1.0), 60.0)
    frames = max(2, round(clip.duration * rate))
    write_video(copy, np.broadcast_to(clip.frames[0], (frames, *clip.frames[0].shape)), rate)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
