"""The generator under examination: a small clip of it, two prompts, and an adapter that comes and goes."""

import inspect
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from rl.generator import Condition, Generator
from rl.settings import Sampling

PROMPTS = ("a red ball falls", "a blue square moves to the right")
RANK, ALPHA = 4, 8
"""Of the adapters that checks put on: alpha is not r, so that a lost alpha shows."""
TIMES = (0.95, 0.35)
"""Of the two samples: one for each expert of a model that has two."""

HALF = 0.03
"""What may differ in a half-precision model, as a share of the largest value."""


def apart(first: Tensor, second: Tensor) -> float:
    """Return the largest difference; NaN where there is one."""
    return float((first.float() - second.to(first.device).float()).abs().max())


@dataclass(frozen=True)
class Call:
    """One call of a transformer by the stock pipeline: latents and time step in, prediction out, as they came."""

    hidden_states: Tensor
    timestep: Tensor
    output: Tensor


@dataclass(eq=False)
class Subject:
    """A generator, and what its checks share. `sampling` is of a small clip and few steps."""

    generator: Generator
    sampling: Sampling
    seed: int = 0
    prompts: Sequence[str] = field(default=PROMPTS)

    @property
    def precise(self) -> bool:
        """Whether the transformer computes in float32, so that what should be equal is."""
        return bool(self.generator.pipe.transformer.dtype == torch.float32)

    def tolerance(self, like: Tensor, exact: float) -> float:
        """Return how far apart two computations of `like` may be: `exact` in float32, a rounding below that."""
        return exact if self.precise else HALF * float(like.abs().max())

    @property
    def guidance(self) -> float:
        """The guidance of predictions: none, or the number that a distilled model reads."""
        return self.sampling.guidance if self.generator.embeds_guidance else 1.0

    @cached_property
    def conditions(self) -> list[Condition]:
        """The conditions of the two prompts."""
        return self.generator.encode(self.prompts, self.sampling)

    @cached_property
    def seeds(self) -> list[int]:
        """One per prompt."""
        return [self.seed + i for i in range(len(self.prompts))]

    @cached_property
    def latents(self) -> Tensor:
        """Final latents of the two prompts, (2, ...); without guidance, unless the model reads it."""
        return self.generator.sample(self.conditions, self.seeds, self.sampling.with_options(guidance=self.guidance))

    @cached_property
    def noise(self) -> Tensor:
        """Noise (2, ...) that has made none of the latents."""
        return self.generator.noise([seed + 1000 for seed in self.seeds], self.sampling).to(self.generator.device)

    @cached_property
    def times(self) -> Tensor:
        """Times (2,)."""
        return torch.tensor(TIMES, device=self.generator.device)

    @cached_property
    def target(self) -> Tensor:
        """What should be predicted of the two samples, (2, ...)."""
        return self.generator.target(self.latents, self.noise, self.times)

    @cached_property
    def base(self) -> Tensor:
        """Prediction of the two samples as the generator was loaded, (2, ...); read it before an adapter is put on."""
        with torch.no_grad():
            return self.predict()

    def predict(self) -> Tensor:
        """Return the prediction of the two samples, (2, ...), with gradient."""
        noisy = self.generator.noisy(self.latents, self.noise, self.times)
        return self.generator.predict(noisy, self.times, self.conditions, self.guidance, self.sampling)

    @contextmanager
    def adapter(self) -> Iterator[list[torch.nn.Parameter]]:
        """Put a fresh adapter on inside the block, and take it off again; gives its parameters."""
        _ = self.base
        try:
            yield self.generator.add_lora(RANK, ALPHA, seed=self.seed)
        finally:
            self.take_off()

    @contextmanager
    def trained_adapter(self) -> Iterator[list[torch.nn.Parameter]]:
        """The same with an adapter that changes predictions, as a trained one does."""
        with self.adapter() as parameters:
            rng = torch.Generator().manual_seed(self.seed)
            with torch.no_grad():
                for parameter in parameters:
                    parameter.copy_(0.05 * torch.randn(parameter.shape, generator=rng))
            yield parameters

    def take_off(self) -> None:
        """Remove any adapter: the model is again as it was loaded."""
        for transformer in self.generator.transformers.values():
            transformer.unload_lora()
            transformer.requires_grad_(False)

    @property
    def _guidance_argument(self) -> str:
        """Guidance by a negative prompt, as the stock pipeline calls it; HunyuanVideo's guidance_scale is the other."""
        taken = inspect.signature(type(self.generator.pipe).__call__).parameters
        return "true_cfg_scale" if "true_cfg_scale" in taken else "guidance_scale"

    def stock(self, guidance: float) -> tuple[Tensor, list[Call]]:
        """Return the stock pipeline's own latents (1, ...) for the first prompt and seed, and its transformer calls."""
        calls: list[Call] = []

        def note(module: torch.nn.Module, given: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> None:
            calls.append(Call(keywords["hidden_states"], keywords["timestep"], output[0]))

        generator, adapter = self.generator, self.generator.adapter
        arguments = adapter.call_arguments(self.sampling.with_options(guidance=guidance))
        if guidance > 1:
            two_calls = not generator.embeds_guidance
            arguments[self._guidance_argument if two_calls else "guidance_scale"] = guidance
            arguments |= {"negative_prompt": [self.sampling.negative_prompt]} if two_calls else {}
        hooks = [each.register_forward_hook(note, with_kwargs=True) for each in generator.transformers.values()]
        try:
            made = generator.pipe(
                prompt=[self.prompts[0]],
                generator=[torch.Generator().manual_seed(self.seeds[0])],
                output_type="latent",
                **arguments,
            )
        finally:
            for hook in hooks:
                hook.remove()
        shape = self.noise.shape[1:]
        return adapter.unpack(made.frames.float(), shape), calls


def small_sampling(generator: Generator, **options: int | None) -> Sampling:
    """Return settings of a small clip and few steps, on which what holds for any clip is checked in seconds.

    `options` (steps, num_frames, height, width) win where they are not None.
    """
    own, adapter = generator.sampling, generator.adapter
    side = 4 * math.lcm(adapter.multiple, 16)
    small = {
        "steps": min(own.steps, 4),
        "num_frames": min(own.num_frames, 2 * adapter.compression[0] + 1),
        "height": min(own.height, side),
        "width": min(own.width, side),
    }
    return own.with_options(**small | {name: value for name, value in options.items() if value is not None})
