"""Replay: call a generator's transformers as its stock pipeline does, with other latents and times."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from reward.errors import InputError
from rl.capture import Capture, capture
from rl.families.family import DEFAULT, Family
from rl.settings import Sampling, Size

Condition = Mapping[str, Tensor]
"""What a transformer is given for one prompt besides latents and time: tensors with batch dimension 1, on the CPU."""


@dataclass(frozen=True)
class Given:
    """A batch's conditions by keyword, (B, ...) on the device; `nothing` is the negative prompt's, None without one."""

    prompts: dict[str, Tensor]
    nothing: dict[str, Tensor] | None = None

    def of(self, members: Sequence[int]) -> "Given":
        """Return the part of a batch."""
        rows = list(members)
        some = {name: values[rows] for name, values in self.prompts.items()}
        return Given(some, self.nothing and {name: values[rows] for name, values in self.nothing.items()})


@dataclass(frozen=True)
class _Door:
    """What the transformer is given for one size of clip: constants, and how its time step looks."""

    constants: Mapping[str, Any]
    time_dtype: torch.dtype
    time_shape: tuple[int, ...]


class Replay:
    """The transformers of a family's pipeline; constants are captured once per size."""

    def __init__(self, family: Family) -> None:
        self.family, self.pipe = family, family.pipe
        self.transformers: dict[str, Any] = family.transformers
        self._doors: dict[tuple[Size, float], _Door] = {}

    def capture(self, sampling: Sampling, **prompts: Any) -> Capture:
        """Return what the stock pipeline hands over for prompts, given as text (`prompt`) or ready made."""
        arguments = self.family.call_arguments(sampling)
        return capture(self.pipe, self.transformers.values(), **prompts, **arguments)

    def scheduler(self, sampling: Sampling) -> Any:
        """Return a scheduler as the stock pipeline sets it for these settings."""
        prompts = self._ready_made(self.batch([self.family.placeholder(sampling)]))
        kept, self.pipe.scheduler = self.pipe.scheduler, self.family.scheduler_for(sampling)
        try:
            return self.capture(sampling, **prompts).scheduler
        finally:
            self.pipe.scheduler = kept

    def batch(self, conditions: Sequence[Condition]) -> dict[str, Tensor]:
        """Return the conditions of a batch on the transformer's device; floats in its number format."""
        transformer = self.pipe.transformer
        batch = {}
        for name in self.family.conditions:
            each = [condition[name] for condition in conditions]
            if len({tensor.shape for tensor in each}) > 1:
                raise InputError(f"conditions {name} differ in shape; encode all prompts with one max_sequence_length")
            values = torch.cat(each).to(transformer.device, non_blocking=True)
            batch[name] = values.to(transformer.dtype) if values.is_floating_point() else values
        return batch

    def predict(self, noisy: Tensor, timesteps: Tensor, given: Given, sampling: Sampling) -> Tensor:
        """Predict fp32 (B, ...) at time steps (B,) in model units; each sample by the expert of its time step."""
        if len(self.transformers) == 1:
            return self.predict_by(DEFAULT, noisy, timesteps, given, sampling)
        groups: dict[str, list[int]] = {}
        for i, timestep in enumerate(timesteps.tolist()):
            groups.setdefault(self.family.expert(timestep), []).append(i)
        parts = [
            self.predict_by(name, noisy[members], timesteps[members], given.of(members), sampling)
            for name, members in groups.items()
        ]
        order = torch.tensor([i for members in groups.values() for i in members], device=noisy.device)
        return torch.cat(parts)[order.argsort()]

    def predict_by(self, name: str, noisy: Tensor, timesteps: Tensor, given: Given, sampling: Sampling) -> Tensor:
        """Predict with one of the transformers, with guidance if there is a negative prompt."""
        prompts, nothing = given.prompts, given.nothing
        if nothing is None:
            return self._call(name, noisy, timesteps, prompts, sampling)
        guidance = sampling.guidance if name == DEFAULT else sampling.guidance_2 or sampling.guidance
        if self.family.combine == "concat":
            both = {key: torch.cat([nothing[key], prompts[key]]) for key in prompts}
            twice = torch.cat([noisy, noisy]), torch.cat([timesteps, timesteps])
            without, prompted = self._call(name, *twice, both, sampling).chunk(2)
        else:
            prompted = self._call(name, noisy, timesteps, prompts, sampling)
            without = self._call(name, noisy, timesteps, nothing, sampling)
        return without + guidance * (prompted - without)

    def _call(
        self, name: str, noisy: Tensor, timesteps: Tensor, batch: dict[str, Tensor], sampling: Sampling
    ) -> Tensor:
        door = self._door(noisy.shape[1:], batch, sampling)
        times = timesteps.to(door.time_dtype)
        if door.time_shape:
            times = times.reshape(-1, *[1] * len(door.time_shape)).expand(-1, *door.time_shape)
        transformer = self.transformers[name]
        output = transformer(
            **door.constants,
            **self.family.filled(len(noisy), sampling),
            **batch,
            hidden_states=self.family.pack(noisy).to(transformer.dtype),
            timestep=times,
        )[0]
        return self.family.unpack(output.float(), noisy.shape[1:])

    def _door(self, latent_shape: Sequence[int], batch: Mapping[str, Tensor], sampling: Sampling) -> _Door:
        size = self.family.size_of(latent_shape)
        key = size, sampling.fps
        if key not in self._doors:
            self.family.check_size(size)
            wanted = replace(sampling, num_frames=size.num_frames, height=size.height, width=size.width)
            found = self.capture(wanted, **self._ready_made(batch)).keywords
            changing = {*self.family.conditions, *self.family.filled(1, sampling), "hidden_states", "timestep"}
            constants = {name: value for name, value in found.items() if name not in changing}
            self._doors[key] = _Door(constants, found["timestep"].dtype, tuple(found["timestep"].shape[1:]))
        return self._doors[key]

    def _ready_made(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {argument: batch[name][:1] for name, argument in self.family.conditions.items()}
