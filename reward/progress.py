"""Progress on stderr: a rich bar with rate and ETA on a terminal, a line every ten seconds elsewhere."""

import sys
import time
from types import TracebackType
from typing import Any, Self

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Count finished items: `with Progress(total, "scoring") as progress: progress.advance()`."""

    def __init__(self, total: int, what: str, quiet: bool = False) -> None:
        self.total, self.what, self.quiet = total, what, quiet
        self.done = 0
        self._bar: Any = None

    def __enter__(self) -> Self:
        self._started = self._last_line = time.monotonic()
        if sys.stderr.isatty() and not self.quiet:
            self._bar = _rich_bar()
            self._bar.start()
            self._task = self._bar.add_task(self.what, total=self.total)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif not self.quiet:
            self._line()

    def advance(self, count: int = 1) -> None:
        """Say that `count` more items are finished."""
        self.done += count
        if self._bar is not None:
            self._bar.advance(self._task, count)
        elif not self.quiet and time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._line()

    def _line(self) -> None:
        self._last_line = time.monotonic()
        seconds = max(self._last_line - self._started, 1e-9)
        rate = self.done / seconds
        left = f", {(self.total - self.done) / rate:.0f} s left" if 0 < self.done < self.total else ""
        print(f"{self.what}: {self.done}/{self.total} in {seconds:.1f} s, {rate:.2f}/s{left}", file=sys.stderr)


def _rich_bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return RichProgress(*columns, TextColumn("ETA"), TimeRemainingColumn(), console=Console(stderr=True))
