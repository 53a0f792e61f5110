"""SFT rows in the formats of other trainers: ms-swift and LLaMA-Factory, as JSON lines."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from distill.rows import Row
from reward.errors import InputError
from reward.files import write_json, write_jsonl
from reward.wording import check_text

Format = Literal["worldcritic", "ms-swift", "llama-factory"]
PLACEHOLDER = "<video>"
"""Stands in the text where the video goes, in both trainers."""
_PLACEHOLDERS = (PLACEHOLDER, "<image>", "<audio>")
DATASET_INFO = "dataset_info.json"


def asked_text(row: Row) -> str:
    """Return the words in which a critic is asked the row's question."""
    return row.question if row.kind == "order" else check_text(row.question)


def as_messages(row: Row) -> dict[str, Any]:
    """Return a row as one exchange: `{"messages": [{"role", "content"}, ...], "videos": [path]}`.

    Soft targets and weights have no place in it. Raises InputError for a question that holds a placeholder itself.
    """
    text = asked_text(row)
    if held := [each for each in _PLACEHOLDERS if each in text]:
        raise InputError(f"a question about {row.video_path} holds {held[0]}, which this format takes for a video")
    return {
        "messages": [
            {"role": "user", "content": PLACEHOLDER + text},
            {"role": "assistant", "content": row.target},
        ],
        "videos": [row.video_path],
    }


def export_files(out: Path, form: Format, splits: Mapping[str, Sequence[Row]]) -> list[Path]:
    """Return the files that `write_export` writes."""
    if form == "worldcritic":
        return []
    names = [f"{name}.jsonl" for name, rows in splits.items() if rows]
    return [out / form / name for name in (*names, *([DATASET_INFO] if form == "llama-factory" else []))]


def write_export(out: Path, form: Format, splits: Mapping[str, Sequence[Row]]) -> None:
    """Write each split into the subfolder `out / form`; for LLaMA-Factory with the dataset_info.json it asks for."""
    if form == "worldcritic":
        return
    lines = {name: [as_messages(row) for row in rows] for name, rows in splits.items() if rows}
    for name, rows in lines.items():
        write_jsonl(out / form / f"{name}.jsonl", rows)
    if form == "llama-factory":
        write_json(out / form / DATASET_INFO, {f"worldcritic_{name}": _info(name) for name in lines})


def _info(name: str) -> dict[str, Any]:
    return {
        "file_name": f"{name}.jsonl",
        "formatting": "sharegpt",
        "columns": {"messages": "messages", "videos": "videos"},
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
        },
    }
