"""A recording as a teacher: the labels of an earlier run, by video bytes, prompt and question."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distill.teachers.faults import UnknownReplyError
from reward.errors import InputError
from reward.files import sha256_file
from reward.labels import FILE_NAME, LabelRow, load_labels
from reward.prompts import Prompt
from reward.teacher import LocalTeacher, Question, Reply, Seen

_Key = tuple[str, str, str, str]


class Replay(LocalTeacher):
    """Replies what was recorded, refusals and unparsed texts as such; what was not recorded is an error."""

    questions_at_once = 1

    def __init__(self, recording: str) -> None:
        if not recording:
            raise InputError(f"--teacher replay needs a recording: --teacher replay:labels/{FILE_NAME}")
        path = Path(recording)
        path = path / FILE_NAME if path.is_dir() else path
        rows = load_labels(path)
        self._path, self._sha256 = path, sha256_file(path)
        self._rows: dict[_Key, LabelRow] = {}
        for row in rows:
            if row.sha256 is None:
                continue
            key = (row.sha256, row.t2v_prompt, row.kind, row.question)
            earlier = self._rows.setdefault(key, row)
            if (earlier.state, earlier.answer, earlier.p_yes) != (row.state, row.answer, row.p_yes):
                raise InputError(f"{row.where}: contradicts {earlier.where}; keep the rows of one teacher")

    @property
    def identity(self) -> Mapping[str, Any]:
        """The recording's file name and hash."""
        return {"name": f"replay:{self._path.name}", "recording_sha256": self._sha256}

    async def label(self, seen: Seen, prompt: Prompt, questions: Sequence[Question]) -> list[Reply]:
        """Look each question up."""
        return [self._reply(seen, prompt, question) for question in questions]

    def _reply(self, seen: Seen, prompt: Prompt, question: Question) -> Reply:
        row = self._rows.get((seen.video.sha256, prompt.text, question.kind, question.text))
        if row is None or row.state == "error":
            reason = (row and row.error) or "this video and question are not in it"
            raise UnknownReplyError(f"{self._path} holds no reply: {reason}")
        p_yes = float(row.yes) if row.p_yes is None and row.kind == "check" and row.answer else row.p_yes
        return Reply(
            row.state,
            row.answer,
            p_yes,
            "replay" if row.state == "answer" else None,
            row.answer_mass,
            row.raw,
            row.error,
            row.teacher_name,
        )
