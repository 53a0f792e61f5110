"""Making the clips of a rollout store, batch by batch."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reward.errors import WorldcriticError
from reward.progress import Progress
from reward.prompts import Prompt
from rl.store import NEGATIVE, load_condition
from rl.store_writer import StoreWriter, has_condition, save_condition

if TYPE_CHECKING:
    from rl.generator import Generator


class SamplingError(WorldcriticError):
    """A generator cannot make a clip: out of memory for a single one."""


@dataclass(frozen=True)
class Job:
    """A clip to be made."""

    prompt: Prompt
    candidate: int
    seed: int

    @property
    def key(self) -> tuple[str, int]:
        """Prompt id and candidate number."""
        return self.prompt.id, self.candidate


def make(generator: "Generator", writer: StoreWriter, todo: Sequence[Job], batch_size: int) -> int:
    """Make clips, and return how many failed."""
    conditions = _conditions(generator, writer.path, todo)
    failed = 0
    with Progress(len(todo), "sampling") as progress:
        for job, clip in _clips(generator, todo, conditions, batch_size):
            if clip is not None:
                writer.add((job.prompt.id, job.prompt.text), job.candidate, job.seed, clip)
            else:
                failed += 1
                print(f"{job.prompt.id}/{job.candidate:04d}: latents are not finite; no clip", file=sys.stderr)
            progress.advance()
    return failed


def _conditions(generator: "Generator", path: Path, todo: Sequence[Job]) -> dict[str, Any]:
    """Return the conditions of all prompts, from the store where they are there; the rest is encoded and saved."""
    prompts = {job.prompt.id: job.prompt.text for job in todo}
    missing = [identifier for identifier, text in prompts.items() if not has_condition(path, identifier, text)]
    for identifier, condition in zip(missing, generator.encode([prompts[each] for each in missing]), strict=True):
        save_condition(path, identifier, prompts[identifier], condition)
    negative = generator.sampling.negative_prompt
    if not generator.embeds_guidance and not has_condition(path, NEGATIVE, negative):
        save_condition(path, NEGATIVE, negative, generator.unconditional())
    return {identifier: load_condition(path, identifier) for identifier in prompts}


def _clips(
    generator: "Generator", todo: Sequence[Job], conditions: Mapping[str, Any], batch_size: int
) -> Iterator[tuple[Job, Any]]:
    """Yield each job with its latents and frames, None where the latents are no numbers.

    Batches are halved when memory does not suffice.
    """
    import torch

    start = 0
    while start < len(todo):
        jobs = todo[start : start + batch_size]
        try:
            latents = generator.sample([conditions[job.prompt.id] for job in jobs], [job.seed for job in jobs])
            finite = [i for i in range(len(jobs)) if latents[i].isfinite().all()]
            frames: Any = generator.decode(latents[finite]) if finite else ()
        except torch.OutOfMemoryError:
            if batch_size == 1:
                raise SamplingError("out of memory for a single clip; make it smaller or shorter") from None
            torch.cuda.empty_cache()
            batch_size //= 2
            print(f"out of memory: {batch_size} clips at once from here on", file=sys.stderr)
            continue
        clips = dict(zip(finite, zip(latents[finite], frames, strict=True), strict=True))
        yield from ((job, clips.get(i)) for i, job in enumerate(jobs))
        start += len(jobs)
