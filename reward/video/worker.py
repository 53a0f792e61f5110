"""The child process of VideoReaders: a request as one JSON line in, a JSON line and raw frame bytes out.

It ends when its standard input closes. A decoder that hangs cannot see that, so that the kernel's alarm, which asks
no Python, ends it some time after its parent should have. It cannot take more memory than its limits can need.
"""

import json
import os
import signal
import sys
from typing import Any, BinaryIO

from reward.errors import WorldcriticError
from reward.video.clip import Clip, FrameSampling, VideoLimits
from reward.video.read import read_video

_BASE_BYTES = 2 * 2**30
_FRAMES_IN_DECODER = 40
"""Reference frames, frames in flight in threads and in conversion."""


def main() -> None:
    """Answer requests until standard input closes."""
    answers = os.fdopen(os.dup(1), "wb")
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)  # what a library prints must not get between the answers
    import av  # noqa: F401  (loaded before the first request's time runs)

    _send(answers, {"ready": True})
    for line in sys.stdin.buffer:
        request = json.loads(line)
        _set_alarm(2 * request["seconds"] + 10)
        _answer(answers, request)
        _set_alarm(0)


def _answer(answers: BinaryIO, request: dict[str, Any]) -> None:
    limits = VideoLimits(**request["limits"])
    _limit_memory(limits)
    try:
        clip = read_video(
            request["path"], FrameSampling(**request["sampling"]), limits, request["backend"], request["threads"]
        )
    except WorldcriticError as error:
        _send(answers, {"error": str(error)})
    except MemoryError:
        _send(answers, {"error": f"{request['path']} takes more memory to decode than its limits allow"})
    else:
        _send(answers, _header(clip))
        answers.write(clip.frames.data.cast("B"))
        answers.flush()


def _header(clip: Clip) -> dict[str, Any]:
    return {
        "shape": clip.frames.shape,
        "timestamps": clip.timestamps.tolist(),
        "indices": clip.indices.tolist(),
        "duration": clip.duration,
        "fps": clip.fps,
        "num_source_frames": clip.num_source_frames,
    }


def _send(answers: BinaryIO, header: dict[str, Any]) -> None:
    answers.write(json.dumps(header).encode() + b"\n")
    answers.flush()


def _set_alarm(seconds: float) -> None:
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _limit_memory(limits: VideoLimits) -> None:
    if sys.platform == "linux":
        import resource

        most = _BASE_BYTES + 2 * limits.max_sampled_bytes + _FRAMES_IN_DECODER * 3 * limits.max_pixels
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


if __name__ == "__main__":
    main()
