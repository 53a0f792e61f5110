"""One video, many questions: the video is encoded and prefilled once, and every question runs on that shared prefix.

Three ways give the same numbers. `packed`: all questions of a video in one row with a block mask, for attention
kernels that take a mask. `expanded`: one row per question on copies of the video's cache, for kernels that take none
(flash attention). `separate`: a full forward pass per question, as everyone else does; the reference for tests and
benchmarks. Position ids are always explicit: what follows a video is not at the largest position plus one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from reward.frontend import Prefix
from reward.options import Sharing
from reward.suffixes import Suffix, pack, seen

_MASKED_KERNELS = ("sdpa", "eager")


@dataclass(frozen=True)
class Prefilled:
    """The key-value cache of B videos, right-padded to the longest: per layer (B, heads, P, head_dim) twice."""

    prefixes: Sequence[Prefix]
    layers: Sequence[tuple[Tensor, Tensor]]

    def select(self, rows: Sequence[int]) -> "Prefilled":
        """Return the prefilled videos of some rows, cut to the longest of them."""
        index = list(rows)
        if index == list(range(len(self.prefixes))):
            return self
        prefixes = [self.prefixes[i] for i in index]
        longest = max(len(prefix.ids) for prefix in prefixes)
        return Prefilled(prefixes, [(k[index, :, :longest], v[index, :, :longest]) for k, v in self.layers])


class SharedPrefix:
    """Reads next-token log-probabilities of `answer_ids` (A of them) behind videos, with a Qwen-VL model."""

    def __init__(self, model: Any, answer_ids: Sequence[int], sharing: Sharing | None = None) -> None:
        self.model = model
        self.answer_ids = torch.tensor(answer_ids, device=model.device)
        kernel = model.config._attn_implementation
        self.sharing = sharing or ("packed" if kernel in _MASKED_KERNELS else "expanded")

    @torch.inference_mode()
    def prefill(self, prefixes: Sequence[Prefix]) -> Prefilled:
        """Encode videos and run the language model over them, in one batch. Nothing is done for `separate`."""
        if self.sharing == "separate":
            return Prefilled(prefixes, [])
        from transformers import DynamicCache

        cache = DynamicCache(config=self.model.config)
        ids = pad_sequence([prefix.ids for prefix in prefixes], batch_first=True)
        positions = pad_sequence([prefix.positions.T for prefix in prefixes], batch_first=True).permute(2, 0, 1)
        self._forward(ids, positions, past_key_values=cache, use_cache=True, **self._vision(prefixes))
        return Prefilled(prefixes, [(layer.keys, layer.values) for layer in cache.layers])

    @torch.inference_mode()
    def read(self, videos: Prefilled, suffixes: Sequence[Sequence[Suffix]], most_tokens: int) -> list[list[Tensor]]:
        """Return per video and suffix the log-probabilities (reads, A), in fp32 on the CPU.

        `suffixes[i]` are asked of video i; at most `most_tokens` tokens of them are run at once.
        """
        if self.sharing == "packed":
            return self._read_packed(videos, suffixes, most_tokens)
        rows = range(len(suffixes))
        return [self._read_paths(videos.select([row]), suffixes[row], most_tokens) for row in rows]

    def _read_packed(
        self, videos: Prefilled, suffixes: Sequence[Sequence[Suffix]], most_tokens: int
    ) -> list[list[Tensor]]:
        found: list[list[Tensor]] = [[] for _ in suffixes]
        groups = [list(_groups(each, most_tokens)) for each in suffixes]
        for turn in range(max(map(len, groups), default=0)):
            rows = [row for row in range(len(groups)) if turn < len(groups[row])]
            scores = self._run_packs(videos.select(rows), [groups[row][turn] for row in rows])
            for row, scored in zip(rows, scores, strict=True):
                found[row] += scored
        return found

    def _run_packs(self, videos: Prefilled, groups: Sequence[Sequence[Suffix]]) -> list[list[Tensor]]:
        packs = [pack(group) for group in groups]
        ids = pad_sequence([row.ids for row in packs], batch_first=True)
        starts = torch.tensor([prefix.next_position for prefix in videos.prefixes])
        positions = pad_sequence([row.depths for row in packs], batch_first=True) + starts[:, None]
        lengths = [len(prefix.ids) for prefix in videos.prefixes]
        sees = seen(lengths, packs, max(lengths), ids.shape[1])
        hidden = self._forward(
            ids, positions.expand(3, -1, -1), past_key_values=_cache(videos, self.model.config), use_cache=True,
            attention_mask=self._mask(sees),
        )  # fmt: skip
        scores = self._log_probs(torch.cat([hidden[i, row.reads] for i, row in enumerate(packs)]))
        per_video = scores.split([len(row.reads) for row in packs])
        return [
            list(each.split([len(suffix.reads) for suffix in group]))
            for each, group in zip(per_video, groups, strict=True)
        ]

    def _read_paths(self, video: Prefilled, suffixes: Sequence[Suffix], most_tokens: int) -> list[Tensor]:
        """Read one video's suffixes row by row of root-to-leaf paths, right-padded, so that no mask is needed."""
        scores = [torch.full((len(suffix.reads), len(self.answer_ids)), torch.nan) for suffix in suffixes]
        paths = [(i, *path) for i, suffix in enumerate(suffixes) for path in suffix.paths()]
        longest = max((len(path) for _, path, _ in paths), default=1)
        size = max(1, most_tokens // longest)
        for start in range(0, len(paths), size):
            rows = paths[start : start + size]
            ids = [torch.tensor([suffixes[i].ids[token] for token in path]) for i, path, _ in rows]
            hidden = self._run_rows(video, ids)
            wanted = [(row, path.index(token)) for row, (_, path, fresh) in enumerate(rows) for token in fresh]
            found = self._log_probs(torch.stack([hidden[row][at] for row, at in wanted]))
            owners = ((i, suffixes[i].reads.index(token)) for i, _, fresh in rows for token in fresh)
            for (i, read), values in zip(owners, found, strict=True):
                scores[i][read] = values
        return scores

    def _run_rows(self, video: Prefilled, rows: Sequence[Tensor]) -> list[Tensor]:
        """Return hidden states (len(row), hidden) of each row of plain tokens behind one video."""
        prefix = video.prefixes[0]
        if self.sharing == "separate":
            return [self._run_alone(prefix, row) for row in rows]
        ids = pad_sequence(list(rows), batch_first=True)
        positions = (torch.arange(ids.shape[1]) + prefix.next_position).expand(3, *ids.shape)
        copies = [(k.expand(len(rows), -1, -1, -1), v.expand(len(rows), -1, -1, -1)) for k, v in video.layers]
        cache = _cache(Prefilled([prefix], copies), self.model.config)
        return list(self._forward(ids, positions, past_key_values=cache, use_cache=True))

    def _run_alone(self, prefix: Prefix, row: Tensor) -> Tensor:
        behind = (torch.arange(len(row)) + prefix.next_position).expand(3, -1)
        positions = torch.cat([prefix.positions, behind], dim=1)
        ids = torch.cat([prefix.ids, row])
        hidden = self._forward(ids[None], positions[:, None], use_cache=False, **self._vision([prefix]))
        return hidden[0, len(prefix.ids) :]

    def _forward(self, ids: Tensor, positions: Tensor, **inputs: Any) -> Tensor:
        device = self.model.device
        return self.model.model(input_ids=ids.to(device), position_ids=positions.to(device), **inputs).last_hidden_state

    def _vision(self, prefixes: Sequence[Prefix]) -> dict[str, Tensor]:
        patches = torch.cat([prefix.patches for prefix in prefixes])
        grids = torch.tensor([prefix.grid for prefix in prefixes])
        device = self.model.device
        return {"pixel_values_videos": patches.to(device, self.model.dtype), "video_grid_thw": grids.to(device)}

    def _mask(self, sees: Tensor) -> Tensor:
        mask = torch.zeros(sees.shape, dtype=self.model.dtype)
        return mask.masked_fill_(~sees, torch.finfo(mask.dtype).min)[:, None].to(self.model.device)

    def _log_probs(self, hidden: Tensor) -> Tensor:
        logits = self.model.lm_head(hidden).float()
        return (logits[:, self.answer_ids] - logits.logsumexp(dim=-1, keepdim=True)).cpu()


def _groups(suffixes: Sequence[Suffix], most_tokens: int) -> Iterator[list[Suffix]]:
    """Yield runs of suffixes of at most `most_tokens` tokens together; a longer one is alone."""
    group: list[Suffix] = []
    for suffix in suffixes:
        if group and sum(len(each.ids) for each in group) + len(suffix.ids) > most_tokens:
            yield group
            group = []
        group.append(suffix)
    if group:
        yield group


def _cache(videos: Prefilled, config: Any) -> Any:
    """Return a new cache that begins with the videos' keys and values and leaves them untouched."""
    from transformers import DynamicCache

    cache = DynamicCache(config=config)
    for layer, (keys, values) in enumerate(videos.layers):
        cache.update(keys, values, layer)
    return cache
