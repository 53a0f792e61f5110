"""<out>/log.jsonl, one row a step, and the same in tensorboard."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reward.files import dump_line, heal_jsonl, read_jsonl, write_jsonl

FILE_NAME = "log.jsonl"


class Log:
    """Rows by step. Rows beyond `step`, written after the checkpoint that a run resumes from, are dropped."""

    def __init__(self, out: Path, step: int, accelerator: Any) -> None:
        self.path = out / FILE_NAME
        heal_jsonl(self.path)
        kept = [row for _, row in read_jsonl(self.path, "log") if row["step"] <= step] if self.path.exists() else []
        write_jsonl(self.path, kept)
        self._accelerator = accelerator

    def write(self, row: Mapping[str, float]) -> None:
        """Append a row; what is NaN is left out."""
        known = {name: value for name, value in row.items() if not math.isnan(value)}
        with self.path.open("ab") as file:
            file.write(dump_line(known).encode())
        self._accelerator.log({name: value for name, value in known.items() if name != "step"}, step=int(row["step"]))

    def close(self) -> None:
        """Finish tensorboard's log."""
        for tracker in self._accelerator.trackers:
            tracker.finish()


def read_log(out: Path) -> list[dict[str, Any]]:
    """Return the rows of a run's log."""
    return [json.loads(line) for line in (out / FILE_NAME).read_text().splitlines()]
