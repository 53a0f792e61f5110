"""All questions and answers of a video in one training sequence: one vision pass, one prefix, the same gradient.

Each question and its answer see the video and themselves, as if they were the only ones; positions restart behind the
video. The loss is a weighted mean over predicted tokens, each with its own target distribution: Yes and No in the
teacher's proportion for a check, one token at a time for an event order or any other text.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from reward.frontend import Prefix
from reward.suffixes import Suffix, chain, pack


@dataclass(frozen=True)
class Asked:
    """One question with its answer.

    `targets[r]` is the distribution of the token that follows `suffix.reads[r]`, as (token id, probability) pairs that
    sum to 1. `weight` is that of each of its tokens in the loss.
    """

    suffix: Suffix
    targets: tuple[tuple[tuple[int, float], ...], ...]
    weight: float = 1.0


def soft_answer(question: Sequence[int], yes: int, no: int, p_yes: float, weight: float = 1.0) -> Asked:
    """Return a yes/no question answered Yes with probability `p_yes`."""
    return Asked(chain(question), (((yes, p_yes), (no, 1 - p_yes)),), weight)


def text_answer(question: Sequence[int], answer: Sequence[int], weight: float = 1.0) -> Asked:
    """Return a question answered by a text of tokens, the end of the answer included; each token is predicted."""
    row = chain([*question, *answer[:-1]])
    reads = tuple(range(len(question) - 1, len(row.ids)))
    return Asked(replace(row, reads=reads), tuple(((token, 1.0),) for token in answer), weight)


@dataclass(frozen=True)
class PackedBatch:
    """B videos, each with its questions behind it, right-padded to L tokens.

    `ids` (B, L); `positions` (3, B, L); `sees` (B, L, L) bool; `patches` and `grids` as the model takes them. R
    predictions: `rows`, `columns` (R,) say where, `targets` (R, 2) and `shares` (R, 2) what, `weights` (R,) how much.
    """

    ids: Tensor
    positions: Tensor
    sees: Tensor
    patches: Tensor
    grids: Tensor
    rows: Tensor
    columns: Tensor
    targets: Tensor
    shares: Tensor
    weights: Tensor

    def to(self, device: torch.device | str, dtype: torch.dtype = torch.float32) -> "PackedBatch":
        """Return the batch on a device, its patches in the model's number format."""
        moved = {name: value.to(device) for name, value in vars(self).items()}
        return PackedBatch(**(moved | {"patches": self.patches.to(device, dtype)}))


def pack_batch(videos: Sequence[tuple[Prefix, Sequence[Asked]]]) -> PackedBatch:
    """Return videos with their questions as one batch."""
    packs = [pack([asked.suffix for asked in questions]) for _, questions in videos]
    lengths = [len(prefix.ids) for prefix, _ in videos]
    ids = [torch.cat([prefix.ids, row.ids]) for (prefix, _), row in zip(videos, packs, strict=True)]
    positions = [
        torch.cat([prefix.positions, (row.depths + prefix.next_position).expand(3, -1)], dim=1).T
        for (prefix, _), row in zip(videos, packs, strict=True)
    ]
    entries = [
        (i, length + int(column), target, asked.weight)
        for i, ((_, questions), length, row) in enumerate(zip(videos, lengths, packs, strict=True))
        for column, (target, asked) in zip(row.reads, _flat(questions), strict=True)
    ]
    pairs = [(*target, (0, 0.0))[:2] for _, _, target, _ in entries]
    return PackedBatch(
        ids=pad_sequence(ids, batch_first=True),
        positions=pad_sequence(positions, batch_first=True).permute(2, 0, 1),
        sees=_sees(lengths, [row.sees for row in packs], max(map(len, ids))),
        patches=torch.cat([prefix.patches for prefix, _ in videos]),
        grids=torch.tensor([prefix.grid for prefix, _ in videos]),
        rows=torch.tensor([i for i, _, _, _ in entries]),
        columns=torch.tensor([column for _, column, _, _ in entries]),
        targets=torch.tensor([[token for token, _ in pair] for pair in pairs]),
        shares=torch.tensor([[share for _, share in pair] for pair in pairs]),
        weights=torch.tensor([weight for _, _, _, weight in entries]),
    )


def predictions(model: Any, batch: PackedBatch, vision: Any = None) -> Tensor:
    """Run a Qwen-VL model with its language head on a batch on its device; log-probabilities (R, vocabulary), float32.

    The model is called as a whole, so that wrappers (DDP, FSDP, peft) see it. `vision` is the output of the model's
    `get_video_features` where it was computed already.
    """
    mask = torch.zeros(batch.sees.shape, dtype=batch.patches.dtype, device=batch.ids.device)
    mask = mask.masked_fill_(~batch.sees, torch.finfo(mask.dtype).min)[:, None]
    if vision is None:
        seen: dict[str, Any] = {"pixel_values_videos": batch.patches, "video_grid_thw": batch.grids}
    else:
        seen = {"mm_encoder_outputs": {"video": vision}}
    columns, where = batch.columns.unique(return_inverse=True)
    logits = model(
        input_ids=batch.ids, position_ids=batch.positions, attention_mask=mask, use_cache=False,
        logits_to_keep=columns, **seen,
    ).logits  # fmt: skip
    return logits[batch.rows, where].float().log_softmax(dim=-1)


def packed_loss(model: Any, batch: PackedBatch, vision: Any = None) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the weighted mean cross-entropy over the batch's predictions, and per prediction `losses` (R,).

    The cross-entropy against (target, share) pairs is -sum_k share_k log p(target_k), p over the whole vocabulary.
    """
    losses = -(batch.shares * predictions(model, batch, vision).gather(1, batch.targets)).sum(dim=1)
    return (batch.weights * losses).sum() / batch.weights.sum(), {"losses": losses.detach()}


def _flat(questions: Sequence[Asked]) -> list[tuple[tuple[tuple[int, float], ...], Asked]]:
    return [(target, asked) for asked in questions for target in asked.targets]


def _sees(lengths: Sequence[int], blocks: Sequence[Tensor], longest: int) -> Tensor:
    """Return who sees whom (B, L, L): the video causally, a question the video and its own part; padding itself."""
    sees = torch.eye(longest, dtype=torch.bool).repeat(len(lengths), 1, 1)
    for row, length, block in zip(sees, lengths, blocks, strict=True):
        row[:length, :length] = torch.ones(length, length, dtype=torch.bool).tril()
        end = length + len(block)
        row[length:end, :length] = True
        row[length:end, length:end] = block
    return sees
