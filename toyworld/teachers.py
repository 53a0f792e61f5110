"""Two teachers of the toy world: its truth, which knows what was rendered, and its oracle, which measures pixels.

`--teacher truth` reads truth.jsonl beside the prompt file, or the file behind the colon: `--teacher truth:FILE`.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reward.errors import InputError
from reward.files import read_jsonl, sha256_file
from reward.prompts import Prompt, load_prompts
from reward.teacher import LocalTeacher, Question, Reply, Seen, Video, check_reply
from reward.video import FrameSampling, VideoReaders

TRUTH, PROMPTS = "truth.jsonl", "prompts.json"


@dataclass(frozen=True)
class _Clip:
    """What is true of one clip: answers by (dimension, question), and the order of the events that happen."""

    prompt_id: str
    checks: Mapping[tuple[str, str], bool]
    events: tuple[str, ...]
    order: str | None
    where: str


class Truth(LocalTeacher):
    """Answers what the renderer knows; a video or question that is none of its own is a refusal with the reason."""

    def __init__(self, truth: Path) -> None:
        self._path, self._sha256 = truth, sha256_file(truth)
        prompts = load_prompts(truth.parent / PROMPTS)
        self._clips = dict(_clip(row, prompts, f"{truth}:{number}") for number, row in read_jsonl(truth, "truth file"))

    @property
    def identity(self) -> Mapping[str, Any]:
        """The truth file's hash."""
        return {"name": "truth", "truth_sha256": self._sha256}

    async def label(self, seen: Seen, prompt: Prompt, questions: Sequence[Question]) -> list[Reply]:
        """Look the answers up by the video's place in the truth file's folder."""
        try:
            name = seen.video.path.resolve().relative_to(self._path.parent.resolve()).as_posix()
        except ValueError:
            name = ""
        clip = self._clips.get(name)
        if clip is None or clip.prompt_id != prompt.id:
            reason = f"{self._path} says nothing about {seen.video.path} under prompt {prompt.id}"
            return [Reply("refusal", reason=reason) for _ in questions]
        return [_true_reply(clip, question) for question in questions]


class Oracle(LocalTeacher):
    """Answers what the oracle measures in all frames of a video; what it cannot tell is a refusal with the reason."""

    identity: Mapping[str, Any] = {"name": "oracle"}

    def __init__(self, readers: VideoReaders) -> None:
        self._readers = readers

    async def prepare(self, video: Video) -> Seen:
        """Decode every frame."""
        return await asyncio.to_thread(self._read, video)

    async def label(self, seen: Seen, prompt: Prompt, questions: Sequence[Question]) -> list[Reply]:
        """Measure once and answer all questions."""
        from toyworld.oracle import judge

        try:
            verdict = await asyncio.to_thread(judge, prompt, seen.media.frames, seen.media.timestamps)
        except InputError as error:
            return [Reply("refusal", reason=str(error)) for _ in questions]
        checks = zip(prompt.checks, verdict.answers, strict=True)
        answers = {(check.dimension, check.question): answer for check, answer in checks}
        unknown = next((each.reason for each in verdict.happenings if not each.known), "the order cannot be told")
        replies = []
        for question in questions:
            if question.kind == "check":
                answer = answers[question.dimension, question.text]
                replies.append(check_reply(answer.yes, "oracle", answer.reason, raw=answer.reason))
            else:
                replies.append(_order_reply(verdict.order, "oracle", unknown))
        return replies

    def _read(self, video: Video) -> Seen:
        count = self._readers.read(video.path, FrameSampling(num_frames=1)).num_source_frames
        most = FrameSampling().max_frames
        clip = self._readers.read(video.path, FrameSampling(num_frames=min(count, most)))
        span = float(clip.timestamps[-1] - clip.timestamps[0])
        rate = (len(clip.frames) - 1) / span if span > 0 else None
        return Seen(video, clip, len(clip.frames), rate)


def truth(argument: str, prompts: Path, readers: VideoReaders) -> Truth:
    """Return the teacher that `--teacher truth` or `--teacher truth:FILE` names."""
    path = Path(argument) if argument else prompts.parent / TRUTH
    return Truth(path / TRUTH if path.is_dir() else path)


def oracle(argument: str, prompts: Path, readers: VideoReaders) -> Oracle:
    """Return the teacher that `--teacher oracle` names."""
    if argument:
        raise InputError(f"--teacher oracle takes no argument, got {argument!r}")
    return Oracle(readers)


def _clip(row: Mapping[str, Any], prompts: Mapping[str, Prompt], where: str) -> tuple[str, _Clip]:
    prompt = prompts.get(str(row.get("prompt_id")))
    if prompt is None:
        raise InputError(f"{where}: prompt id {row.get('prompt_id')!r} is not in {PROMPTS} beside it")
    checks, order, video = row.get("checks"), row.get("order"), row.get("video")
    if not isinstance(video, str) or not isinstance(checks, list) or len(checks) != len(prompt.checks):
        raise InputError(f"{where}: needs 'video' and one truth per check of {prompt.id} in 'checks'")
    if not all(isinstance(each, bool) for each in checks) or not isinstance(order, str | None):
        raise InputError(f"{where}: 'checks' holds true and false, 'order' letters")
    pairs = zip(prompt.checks, checks, strict=True)
    return video, _Clip(prompt.id, {(c.dimension, c.question): yes for c, yes in pairs}, prompt.events, order, where)


def _true_reply(clip: _Clip, question: Question) -> Reply:
    if question.kind == "check":
        yes = clip.checks.get((question.dimension, question.text))
        return check_reply(np.nan if yes is None else float(yes), "truth", f"{clip.where} does not know this question")
    known = clip.order if question.events == clip.events else None
    return _order_reply(known, "truth", f"{clip.where} does not know these events")


def _order_reply(order: str | None, source: str, reason: str) -> Reply:
    if order is None:
        return Reply("refusal", reason=reason)
    return Reply("answer", order, p_source=source)
