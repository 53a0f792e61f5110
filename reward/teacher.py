"""The protocol of a teacher: what it is asked about a video, and what it may reply.

A teacher is slower and dearer than a critic, can refuse, and is asked once: its replies are kept as labels. A reply
that is no answer stays what it is, with its raw text: a refusal or an unparsed text never becomes a "no".
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from reward.dimensions import EVENT_FOLLOWING
from reward.prompts import Check, Prompt
from reward.wording import check_text, order_text

Kind = Literal["check", "order"]


@dataclass(frozen=True)
class Question:
    """One question about a video: a yes/no check, or the order of the prompt's events."""

    kind: Kind
    dimension: str
    text: str
    """The check's question; for the order the whole text that is asked."""
    events: tuple[str, ...] = ()

    @property
    def asked(self) -> str:
        """The words put before the teacher, those that critics are trained on."""
        return check_text(self.text) if self.kind == "check" else self.text


@dataclass(frozen=True)
class Reply:
    """What a teacher replied to one question.

    `state` is "answer", "refusal" or "unparsed"; `reason` says why there is no answer. An answer to a check has
    `p_yes` in [0, 1] and `answer` "yes" or "no"; one to an order has `answer` as letters, "" where nothing happens.
    `p_source` says where the answer comes from: "logprobs", "parsed", "truth", "oracle" or "replay". Tokens are what
    the call cost, None where the teacher does not say.
    """

    state: Literal["answer", "refusal", "unparsed"]
    answer: str | None = None
    p_yes: float | None = None
    p_source: str | None = None
    answer_mass: float | None = None
    raw: str | None = None
    reason: str | None = None
    model_version: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


@dataclass(frozen=True)
class Video:
    """A video file. `sha256` is that of its bytes, which labels are bound to."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class Seen:
    """A video made ready once for all of its questions. `frames` and `fps` are what the teacher sees, None if unknown.

    `media` belongs to the teacher: an upload, encoded frames, a decoded clip.
    """

    video: Video
    media: Any = None
    frames: int | None = None
    fps: float | None = None


class Teacher(Protocol):
    """Anything that labels videos. Calls of different videos and questions may overlap.

    A fault raises: VideoError for a video that cannot be read, one of `distill.teachers.faults` for a call.
    """

    @property
    def identity(self) -> Mapping[str, Any]:
        """A JSON object with "name" and every setting that answers depend on; never a key or an address."""
        ...

    @property
    def questions_at_once(self) -> int | None:
        """How many questions one call of `label` takes, None for all of a video."""
        ...

    async def prepare(self, video: Video) -> Seen:
        """Make a video ready: check, decode or upload it, once for all questions."""
        ...

    async def label(self, seen: Seen, prompt: Prompt, questions: Sequence[Question]) -> list[Reply]:
        """Return one reply per question, in order."""
        ...

    async def release(self, seen: Seen) -> None:
        """Give back what `prepare` took, such as an upload."""
        ...

    async def close(self) -> None:
        """Close connections."""
        ...


class LocalTeacher:
    """The parts of a teacher that needs no connection: nothing to prepare, release or close, all questions at once."""

    questions_at_once: int | None = None

    async def prepare(self, video: Video) -> Seen:
        """Return the video as it is."""
        return Seen(video)

    async def release(self, seen: Seen) -> None:
        """Do nothing: nothing was taken."""

    async def close(self) -> None:
        """Do nothing: nothing is open."""


def check_reply(p_yes: float, source: str, reason: str = "", **more: Any) -> Reply:
    """Return a check's answer from the probability of Yes in [0, 1]; a refusal for the given reason where it is NaN."""
    if math.isnan(p_yes):
        return Reply("refusal", reason=reason or "the teacher cannot tell", **more)
    return Reply("answer", "yes" if p_yes >= 0.5 else "no", float(p_yes), source, **more)


def questions_of(prompt: Prompt) -> tuple[Question, ...]:
    """Return what is asked about a prompt's videos: its asked checks, each once, then the order of its events."""
    checks = tuple(dict.fromkeys(check_question(check) for check in prompt.asked_checks))
    if not prompt.events:
        return checks
    return (*checks, Question("order", EVENT_FOLLOWING, order_text(prompt.events), prompt.events))


def check_question(check: Check) -> Question:
    """Return the question that asks a check."""
    return Question("check", check.dimension, check.question)
