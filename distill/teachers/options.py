"""How a teacher is reached and what it is shown, as options of `worldcritic label`."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from reward.config import config
from reward.errors import InputError
from reward.options import LoadOptions, Positive


@config
class TeacherOptions(LoadOptions):
    """Options of all teachers; device, dtype and the like are for a local critic.

    `num_frames`, `video_fps` and `max_pixels` are for a local critic and for --media frames, which without them sends
    16 frames as large as the video; a server that is sent the video samples it itself, Gemini at --video_fps.
    """

    base_url: str | None = None
    """Address of an OpenAI-compatible server, such as http://127.0.0.1:8000/v1, or of a Gemini proxy."""
    api_key_env: str | None = None
    """Environment variable with the key. By default OPENAI_API_KEY or GEMINI_API_KEY, with --base_url none."""
    media: Literal["video", "frames"] = "video"
    """What an OpenAI-compatible server is sent: the video file, or its frames as JPEGs with their times."""
    max_tokens: Positive | None = 64
    """Longest reply in tokens; raise it for a model that thinks. None sends no limit."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = 0.0
    """Sampling temperature; None leaves it to the server."""
    seed: Annotated[int, Field(ge=0)] | None = None
    """Sampling seed, where the server knows one."""
    logprobs: bool = True
    """Ask for the probabilities of Yes and No; where a server has none its written answer counts as 1 or 0."""
    extra_body: str | None = None
    """JSON object sent with every request, such as '{"mm_processor_kwargs": {"fps": 2}}'."""
    request_seconds: Annotated[float, Field(gt=0)] = 300.0
    """Time limit of one call."""
    upload_seconds: Annotated[float, Field(gt=0)] = 300.0
    """Gemini: time limit for an upload to become ready."""
    inline_megabytes: Annotated[float, Field(ge=0, le=100)] = 15.0
    """Gemini: videos up to this size go inside the request, larger ones are uploaded once."""
    max_megabytes: Annotated[float, Field(gt=0)] = 100.0
    """A larger video is not sent to a server."""


def unused(options: TeacherOptions, names: Sequence[str], why: str, instead: str) -> None:
    """Refuse options that a teacher would have to ignore; `instead` is an option that does what was meant."""
    given = [f"--{name}" for name in names if getattr(options, name) is not None]
    if given:
        raise InputError(f"{', '.join(given)} cannot be used with this teacher: {why}; see --{instead}")
