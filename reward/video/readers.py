"""Read videos in child processes that can be killed: a decoder can hang, crash or eat all memory."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from reward.errors import InputError, VideoError
from reward.video.clip import Clip, FrameSampling, VideoLimits
from reward.video.read import Backend

_SECONDS_TO_START = 120.0
"""A child imports numpy and libav; on a cold network disk that takes its time."""


class VideoReaders:
    """A pool of `workers` child processes that read one video each: `with VideoReaders() as readers: ...`.

    A child that takes longer than `seconds` for a video, or dies, costs that video a VideoError and is replaced; the
    others go on. Children end when this object is closed or its process ends, whichever way it ends. `read` may be
    called from several threads.
    """

    def __init__(
        self,
        workers: int = 2,
        seconds: float = 60.0,
        limits: VideoLimits = VideoLimits(),  # noqa: B008  (frozen)
        backend: Backend = "auto",
    ) -> None:
        if workers < 1 or not seconds > 0:
            raise InputError(f"video readers: workers and seconds must be above 0, got {workers} and {seconds}")
        self.workers, self.seconds, self.limits, self.backend = workers, seconds, limits, backend
        self._idle: queue.LifoQueue[_Child | None] = queue.LifoQueue()
        for _ in range(workers):
            self._idle.put(None)
        self._children: set[_Child] = set()
        self._lock = threading.Lock()
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End all children, also those that are at work."""
        with self._lock:
            self._closed = True
            children, self._children = self._children, set()
        for child in children:
            child.kill()

    def read(
        self,
        path: str | os.PathLike[str],
        sampling: FrameSampling = FrameSampling(),  # noqa: B008  (frozen)
    ) -> Clip:
        """Return the clip that `read_video` returns, read by a child; waits for a free one.

        Raises VideoError as `read_video` does, and for a child that ran out of time or died.
        """
        request = {
            "path": os.path.abspath(path),
            "sampling": asdict(sampling),
            "limits": asdict(self.limits),
            "backend": self.backend,
            "threads": max(1, (os.cpu_count() or 1) // self.workers),
            "seconds": self.seconds,
        }
        child = self._idle.get()
        try:
            if child is None or child.process.poll() is not None:
                child = self._start()
            clip = child.read(request, Path(path), self.seconds)
        except BaseException:
            if child is not None and child.broken:
                with self._lock:
                    self._children.discard(child)
                child.kill()
                child = None
            raise
        finally:
            self._idle.put(child)
        return clip

    def stream(
        self,
        paths: Iterable[str | os.PathLike[str]],
        sampling: FrameSampling = FrameSampling(),  # noqa: B008  (frozen)
    ) -> Iterator[tuple[Path, Clip | VideoError]]:
        """Yield (path, clip or the error in its place) in the order given, reading at most `workers` + 1 ahead."""
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="video-reader")
        pending: deque[tuple[Path, Future[Clip | VideoError]]] = deque()
        try:
            for path in map(Path, paths):
                pending.append((path, pool.submit(self._read_or_error, path, sampling)))
                if len(pending) > self.workers:
                    first, future = pending.popleft()
                    yield first, future.result()
            while pending:
                first, future = pending.popleft()
                yield first, future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # Ctrl-C must not wait for a child that hangs

    def _read_or_error(self, path: Path, sampling: FrameSampling) -> Clip | VideoError:
        try:
            return self.read(path, sampling)
        except VideoError as error:
            return error

    def _start(self) -> "_Child":
        with self._lock:
            if self._closed:
                raise VideoError("the video readers are closed")
            child = _Child()
            self._children.add(child)
        return child


class _Child:
    """One child process; `broken` means that what it sends next can no longer be told apart from what it owes."""

    def __init__(self) -> None:
        package_root = str(Path(__file__).resolve().parents[2])
        python_path = os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH")]))
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "reward.video.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": python_path},
            start_new_session=True,  # Ctrl-C is for the parent, which ends its children itself
        )
        self.broken = True
        self._ready = False

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            try:
                pipe.close()  # type: ignore[union-attr]
            except BrokenPipeError:
                continue

    def read(self, request: dict[str, Any], path: Path, seconds: float) -> Clip:
        self.broken = True
        if not self._ready:
            self._timed(self._hello, path, _SECONDS_TO_START)
            self._ready = True
        header, frames = self._timed(lambda: self._exchange(request), path, seconds)
        self.broken = False
        if "error" in header:
            raise VideoError(header["error"].replace(request["path"], str(path)))
        return Clip(
            frames,
            np.array(header["timestamps"], dtype=np.float64),
            np.array(header["indices"], dtype=np.int64),
            header["duration"],
            header["fps"],
            header["num_source_frames"],
        )

    def _timed(self, action: Any, path: Path, seconds: float) -> Any:
        """Run a blocking exchange; a timer kills the child, which ends it."""
        late = threading.Event()

        def stop() -> None:
            late.set()
            self.process.kill()

        timer = threading.Timer(seconds, stop)
        timer.daemon = True
        timer.start()
        try:
            return action()
        except (EOFError, OSError, ValueError):
            code = self.process.wait()
            if late.is_set():
                raise VideoError(f"{path} took longer than {seconds:g} s to read; its decoder was stopped") from None
            raise VideoError(f"{path}: {_death(code)}") from None
        finally:
            timer.cancel()

    def _hello(self) -> None:
        self._line()

    def _line(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        return json.loads(line)

    def _exchange(self, request: dict[str, Any]) -> tuple[dict[str, Any], np.ndarray]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()
        header = self._line()
        frames = np.empty(header.get("shape", (0,)), dtype=np.uint8)
        rest = frames.data.cast("B") if frames.size else memoryview(b"")
        while rest:
            count = self.process.stdout.readinto(rest)  # type: ignore[attr-defined]
            if not count:
                raise EOFError
            rest = rest[count:]
        return header, frames


def _death(code: int) -> str:
    if code >= 0:
        return f"its decoder ended with exit code {code}"
    name = signal.Signals(-code).name
    return f"its decoder died with signal {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
