"""Capture: run a stock pipeline up to its first call of a transformer, and keep what it would have handed over.

Replay then calls the transformer with the same keywords and other latents and times. So whatever a pipeline computes
before its loop (text, rotary embeddings, frame rate, noise levels) is its own work and never typed again here.
"""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Capture:
    """`keywords` of the transformer's first call, and a copy of the scheduler as the pipeline has set it."""

    keywords: Mapping[str, Any]
    scheduler: Any


class _StopError(Exception):
    """Leaves the pipeline at the transformer's door."""

    def __init__(self, keywords: dict[str, Any]) -> None:
        self.keywords = keywords


def capture(pipe: Any, transformers: Iterable[torch.nn.Module], **arguments: Any) -> Capture:
    """Return what `pipe(**arguments)` hands to the first of `transformers` that it calls; none of them is run."""

    def stop(module: torch.nn.Module, positional: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        raise _StopError(keywords)

    hooks = [each.register_forward_pre_hook(stop, with_kwargs=True) for each in transformers]
    try:
        with torch.no_grad():
            pipe(**arguments, generator=torch.Generator().manual_seed(0), output_type="latent")
    except _StopError as reached:
        return Capture(reached.keywords, copy.deepcopy(pipe.scheduler))
    finally:
        for hook in hooks:
            hook.remove()
    raise RuntimeError(f"{type(pipe).__name__} never called its transformer")
