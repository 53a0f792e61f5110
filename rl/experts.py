"""Metrics by expert, for generators of two (Wan2.2 A14B): each sample trains the one for its noise level."""

from collections.abc import Mapping

import torch
from torch import Tensor

from rl.generator import Generator


@torch.no_grad()
def by_expert(generator: Generator, times: Tensor, values: Mapping[str, Tensor]) -> dict[str, Tensor | float]:
    """Return the mean of each (B,) value over each expert's samples, as "name/expert"; nothing where there is one."""
    if len(generator.transformers) == 1:
        return {}
    experts = [generator.adapter.expert(timestep) for timestep in generator.adapter.timesteps(times).tolist()]
    means: dict[str, Tensor | float] = {}
    for expert in generator.transformers:
        members = [i for i, each in enumerate(experts) if each == expert]
        for name, value in values.items():
            means[f"{name}/{expert}"] = value[members].mean() if members else float("nan")
    return means
