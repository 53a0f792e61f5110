"""Labels for others to read: one row per video and question, as JSONL and as Parquet."""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from distill.jobs import Job
from distill.journal import Journal, Record
from reward.files import write_atomic
from reward.teacher import Question

Row = dict[str, Any]


def label_rows(
    jobs: Sequence[Job], journal: Journal, identity: Mapping[str, Any], videos: Path, generator: str | None = None
) -> Iterator[Row]:
    """Yield the rows of all questions that were asked, video by video; a video that is missing has rows that say so.

    `videos` is the folder that videos are relative to; `generator` is for videos whose manifest names none.
    """
    for job in jobs:
        if job.video is None:
            unseen = {"model_version": None, "frames": None, "fps": None}
            teacher = json.dumps(dict(identity) | unseen)
            records = [Record("", "error", error=job.missing, teacher=teacher) for _ in job.questions]
            found = list(zip(job.questions, records, strict=True))
        else:
            by_key = {record.key: record for record in journal.records(dict.fromkeys(job.keys))}
            found = [(question, by_key[key]) for key, question in job.asked if key in by_key]
        for question, record in found:
            yield _row(job, question, record, videos, generator)


def _row(job: Job, question: Question, record: Record, videos: Path, generator: str | None) -> Row:
    prompt = job.candidate.prompt
    return {
        "prompt_id": prompt.id,
        "video": job.candidate.video,
        "video_path": (videos / job.candidate.video).as_posix(),
        "sha256": job.video and job.video.sha256,
        "generator": job.candidate.generator or generator,
        "t2v_prompt": prompt.text,
        "kind": question.kind,
        "dimension": question.dimension,
        "question": question.text,
        "events": list(question.events) if question.kind == "order" else None,
        "state": record.state,
        "p_yes": record.p_yes,
        "answer": record.answer,
        "p_source": record.p_source,
        "answer_mass": record.answer_mass,
        "raw": record.raw,
        "error": record.error,
        "teacher": json.loads(record.teacher),
        "key": record.key or None,
    }


def write_parquet(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as one Parquet file, whole or not at all; `teacher` is JSON text there, since settings differ."""
    import pyarrow
    import pyarrow.parquet

    text = pyarrow.string()
    numbers = {"p_yes": pyarrow.float64(), "answer_mass": pyarrow.float64(), "events": pyarrow.list_(text)}
    schema = pyarrow.schema([(name, numbers.get(name, text)) for name in COLUMNS])
    plain = [row | {"teacher": json.dumps(row["teacher"])} for row in rows]
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(plain, schema=schema), file, compression="zstd")
    write_atomic(path, file.getvalue())


COLUMNS = (
    "prompt_id", "video", "video_path", "sha256", "generator", "t2v_prompt", "kind", "dimension", "question", "events",
    "state", "p_yes", "answer", "p_source", "answer_mass", "raw", "error", "teacher", "key",
)  # fmt: skip
