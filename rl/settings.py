"""How a generator is sampled: everything that changes a clip besides prompt, seed and weights, saved with the clip."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from reward.errors import InputError
from reward.files import read_json, write_json

FILE_NAME = "sampling.json"

Positive = Annotated[int, pydantic.Field(ge=1)]
Above = Annotated[float, pydantic.Field(gt=0)]
Schedule = Literal["pipeline", "uniform"]


@dataclass(frozen=True)
class Size:
    """A clip's size in frames and pixels."""

    num_frames: int
    height: int
    width: int


@dataclass(frozen=True)
class Sampling:
    """Settings of the sampler. A generator's folder may hold its own vetted ones, as sampling.json."""

    num_frames: Positive
    """Frames per clip."""
    height: Positive
    """Height in pixels."""
    width: Positive
    """Width in pixels."""
    fps: Above
    """Frames per second; LTX is told it, the others only play at it."""
    steps: Positive
    """Steps of the solver."""
    guidance: Annotated[float, pydantic.Field(ge=1)]
    """Classifier-free guidance, 1 is none; the embedded guidance of a distilled HunyuanVideo."""
    max_sequence_length: Positive
    """Tokens of text; most families attend to the padding, so that another number gives other clips."""
    guidance_2: Annotated[float, pydantic.Field(ge=1)] | None = None
    """Guidance of the low-noise expert of Wan2.2 A14B; None takes `guidance`."""
    shift: Above | None = None
    """Shift of the noise levels towards noise; None is the scheduler's own."""
    schedule: Schedule = "pipeline"
    """pipeline: noise levels as the stock pipeline sets them. uniform: linspace(1, 1/1000, steps + 1)[:-1], shifted
    once. FlowMatchEuler in the stock Wan pipeline shifts its smallest level twice, which all but wastes the last step;
    uniform is what UniPC does."""
    negative_prompt: str = ""
    """What guidance steers away from."""

    __pydantic_config__ = pydantic.ConfigDict(extra="forbid")

    @property
    def size(self) -> Size:
        """The clip's size."""
        return Size(self.num_frames, self.height, self.width)

    def with_options(self, **options: Any) -> "Sampling":
        """Return these settings with those that are given, not None, instead."""
        return check_sampling(
            dataclasses.asdict(self) | {name: value for name, value in options.items() if value is not None}, "sampling"
        )


_ADAPTER = pydantic.TypeAdapter(Sampling)


def check_sampling(values: Any, where: str) -> Sampling:
    """Return settings from a JSON object; InputError naming `where` and the key for a wrong one."""
    try:
        return _ADAPTER.validate_python(values)
    except pydantic.ValidationError as error:
        fault = error.errors()[0]
        name = ".".join(str(part) for part in fault["loc"]) or "sampling"
        raise InputError(f"{where}: {name}: {fault['msg']} (got {fault['input']!r})") from None


def read_sampling(folder: Path, default: Sampling) -> Sampling:
    """Return the settings that a generator's folder holds, `default` where it holds none."""
    path = folder / FILE_NAME
    return check_sampling(read_json(path, "sampling settings"), str(path)) if path.exists() else default


def write_sampling(folder: Path, sampling: Sampling) -> None:
    """Save a generator's vetted settings into its folder."""
    write_json(folder / FILE_NAME, dataclasses.asdict(sampling))
