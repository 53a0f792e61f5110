"""What is to be labelled: videos with their questions, each question under the key of its label."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reward.candidates import Candidate
from reward.files import sha256_file, sha256_json
from reward.teacher import Question, Video, questions_of

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Job:
    """All questions about one video. `missing` says why there is no video; then there are no keys either."""

    candidate: Candidate
    video: Video | None
    questions: tuple[Question, ...]
    keys: tuple[str, ...]
    missing: str | None = None

    @property
    def asked(self) -> list[tuple[str, Question]]:
        """Each question under its key."""
        return list(zip(self.keys, self.questions, strict=True)) if self.video is not None else []


def make_jobs(candidates: Sequence[Candidate], identity: Mapping[str, Any]) -> list[Job]:
    """Return one job per video, in order; every video is hashed.

    `identity` is the teacher's. Videos of the same bytes under one prompt share their keys, so that they are asked
    about once.
    """
    return [_job(candidate, identity) for candidate in candidates]


def _job(candidate: Candidate, identity: Mapping[str, Any]) -> Job:
    questions = questions_of(candidate.prompt)
    if not candidate.path.is_file():
        return Job(candidate, None, questions, (), f"{candidate.path} does not exist")
    try:
        sha256 = sha256_file(candidate.path)
    except OSError as error:
        return Job(candidate, None, questions, (), f"{candidate.path} cannot be read: {error.strerror}")
    keys = tuple(label_key(sha256, candidate, question, identity) for question in questions)
    return Job(candidate, Video(candidate.path, sha256), questions, keys)


def label_key(sha256: str, candidate: Candidate, question: Question, identity: Mapping[str, Any]) -> str:
    """Return the key of a label: a hash of video bytes, prompt, question, and the teacher with its settings."""
    prompt = candidate.prompt
    asked = [question.kind, question.dimension, question.text, question.events]
    return sha256_json([SCHEMA_VERSION, sha256, prompt.id, prompt.text, asked, dict(identity)])
