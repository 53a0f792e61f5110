"""Training data from a rollout store: latents and conditions as they were kept, found by prompt and content."""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from reward.errors import InputError
from reward.preference_pairs import PreferencePair
from reward.scores import ScoreRow
from rl.generator import Condition
from rl.store import Rollout, RolloutStore

CACHE_BYTES = 4 * 2**30
"""Latents are kept in memory up to this size, and read again beyond it."""

Key = tuple[str, str]


class _Clips:
    """Clips of a store, by prompt id and SHA-256 of the video; InputError names those that it does not hold."""

    def __init__(self, store: RolloutStore, wanted: Sequence[tuple[Key, str]]) -> None:
        self.store = store
        rows: dict[Key, Rollout] = {(row.prompt_id, row.sha256): row for row in store.rows}
        missing = [name for key, name in wanted if key not in rows]
        if missing:
            raise InputError(
                f"{missing[0]} is not in the rollouts {store.path} ({len(missing)} of {len(wanted)} are not): no clip "
                "of its prompt has this content; give the rollouts that were scored"
            )
        self._rows = rows
        self._latents: dict[Key, Tensor] = {}
        self._conditions: dict[str, Condition] = {}
        self._bytes = 0
        for prompt_id in dict.fromkeys(key[0] for key, _ in wanted):
            self._conditions[prompt_id] = store.condition(prompt_id)

    def read(self, keys: Sequence[Key]) -> Tensor:
        """Return latents (B, ...), fp32 on the CPU."""
        return torch.stack([self._read(key) for key in keys])

    def conditions_of(self, prompt_ids: Sequence[str]) -> list[Condition]:
        """Return the condition of each prompt."""
        return [self._conditions[each] for each in prompt_ids]

    def _read(self, key: Key) -> Tensor:
        if key in self._latents:
            return self._latents[key]
        latents = self.store.latents(self._rows[key])
        if not bool(latents.isfinite().all()):
            raise InputError(f"{self.store.path / self._rows[key].latents}: holds latents that are no numbers")
        self._bytes += latents.nbytes
        if self._bytes <= CACHE_BYTES:
            self._latents[key] = latents
        return latents


class StoredPairs(_Clips):
    """Preference pairs, each clip found in a store."""

    def __init__(self, store: RolloutStore, pairs: Sequence[PreferencePair]) -> None:
        sides = [(pair.prompt_id, side) for pair in pairs for side in (pair.chosen, pair.rejected)]
        super().__init__(store, [((i, side.sha256), f"video {side.video} of prompt {i}") for i, side in sides])
        self.pairs = pairs

    def latents(self, items: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return latents of the chosen and of the rejected clips, both (B, ...)."""
        pairs = [self.pairs[i] for i in items]
        return (
            self.read([(pair.prompt_id, pair.chosen.sha256) for pair in pairs]),
            self.read([(pair.prompt_id, pair.rejected.sha256) for pair in pairs]),
        )

    def conditions(self, items: Sequence[int]) -> list[Condition]:
        """Return the prompt of each pair as the transformer was given it."""
        return self.conditions_of([self.pairs[i].prompt_id for i in items])

    def probabilities(self, items: Sequence[int]) -> Tensor:
        """Return P(chosen is better), (B,); 1 where people compared and no probability is known."""
        return torch.tensor([self.pairs[i].probability for i in items]).nan_to_num(1.0)


class StoredClips(_Clips):
    """Scored clips, each found in a store."""

    def __init__(self, store: RolloutStore, rows: Sequence[ScoreRow]) -> None:
        keys = [((row.prompt_id, row.sha256 or ""), f"video {row.video} of prompt {row.prompt_id}") for row in rows]
        super().__init__(store, keys)
        self.keys = [key for key, _ in keys]

    def latents(self, items: Sequence[int]) -> Tensor:
        """Return the clips' latents (B, ...)."""
        return self.read([self.keys[i] for i in items])

    def conditions(self, items: Sequence[int]) -> list[Condition]:
        """Return the prompt of each clip as the transformer was given it."""
        return self.conditions_of([self.keys[i][0] for i in items])


def open_store(path: Path) -> RolloutStore:
    """Open a rollout store, and say so where its clips were made by more than the generator that is trained."""
    store = RolloutStore.open(path)
    if store.header.lora is not None:
        print(
            f"note: the rollouts {path} were made with the LoRA {store.header.lora['path']}; "
            "training begins without it",
            file=sys.stderr,
        )
    return store
