"""All questions and answers of a video in one training sequence: one vision pass, one prefix, the same gradient.

Each question and its answer see the video and themselves, as if they were the only ones; positions restart behind the
video. Questions stand in bins, and attention is computed within a bin and from it to the video, nowhere else. The loss
is a weighted mean over predicted tokens, each with its own target distribution: Yes and No in the teacher's proportion
for a check, one token at a time for an event order or any other text. An event order may also be asked for by its
score: then one term of the mean is the squared error of its expected LCS.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from reward.frontend import Prefix
from reward.order import EXACT_EVENTS, open_prefixes
from reward.order_loss import lcs_loss, order_table
from reward.suffixes import Pack, Suffix, chain, pack, seen, trie
from reward.tokens import AnswerTokens


@dataclass(frozen=True)
class OrderAim:
    """The score that an event order is to get: E[LCS] / `num_events` = `target` in [0, 1].

    `first` and `later` are the token ids of the letters, and last of None and of the end of the answer: what may begin
    an answer, and what may follow a letter.
    """

    num_events: int
    first: tuple[int, ...]
    later: tuple[int, ...]
    target: float
    weight: float


@dataclass(frozen=True)
class Asked:
    """One question with its answer.

    `targets[r]` is the distribution of the token that follows `suffix.reads[r]`, as (token id, probability) pairs that
    sum to 1, or empty where nothing is to be learned of it alone. `weight` is that of each of its tokens in the loss.
    `aim` is what all of its reads together, a trie of letters, are to score.
    """

    suffix: Suffix
    targets: tuple[tuple[tuple[int, float], ...], ...]
    weight: float = 1.0
    aim: OrderAim | None = None


def soft_answer(question: Sequence[int], yes: int, no: int, p_yes: float, weight: float = 1.0) -> Asked:
    """Return a yes/no question answered Yes with probability `p_yes`."""
    return Asked(chain(question), (((yes, p_yes), (no, 1 - p_yes)),), weight)


def text_answer(question: Sequence[int], answer: Sequence[int], weight: float = 1.0) -> Asked:
    """Return a question answered by a text of tokens, the end of the answer included; each token is predicted."""
    row = chain([*question, *answer[:-1]])
    reads = tuple(range(len(question) - 1, len(row.ids)))
    return Asked(replace(row, reads=reads), tuple(((token, 1.0),) for token in answer), weight)


def scored_order(
    question: Sequence[int], num_events: int, tokens: AnswerTokens, target: float, weight: float = 1.0
) -> Asked:
    """Return an event-order question, at most EXACT_EVENTS events, with the share of LCS / n that it is to score."""
    pairs, prefixes = tokens.needed_letters(num_events), open_prefixes(num_events)
    first, later = (tuple(pair[i] for pair in pairs) for i in (0, 1))
    aim = OrderAim(num_events, (*first, tokens.none), (*later, tokens.stop), target, weight)
    return Asked(trie(question, prefixes, pairs), ((),) * len(prefixes), 0.0, aim)


@dataclass(frozen=True)
class PackedBatch:
    """B videos, each right-padded to P tokens, then its questions in N bins of C tokens; L = P + N C.

    `ids` (B, L); `positions` (3, B, L); `sees` (B N, C, P + C) bool says what a bin's tokens see of the video and of
    their bin (the video sees itself causally); `patches` and `grids` as the model takes them. R predictions: `rows`,
    `columns` (R,) say where, `targets` (R, 2) and `shares` (R, 2) what, `weights` (R,) how much. M scored orders:
    `orders` (M, 2) says at which prediction a trie begins and of how many events, `letters` (M, 2, EXACT_EVENTS + 1)
    the `first` and `later` tokens of its OrderAim, `aims` (M, 2) its target and weight.
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
    orders: Tensor
    letters: Tensor
    aims: Tensor

    def to(self, device: torch.device | str, dtype: torch.dtype = torch.float32) -> "PackedBatch":
        """Return the batch on a device, its patches in the model's number format."""
        moved = {name: value.to(device) for name, value in vars(self).items()}
        return PackedBatch(**(moved | {"patches": self.patches.to(device, dtype)}))


BIN = 64
"""Least tokens of a bin."""


def pack_batch(videos: Sequence[tuple[Prefix, Sequence[Asked]]]) -> PackedBatch:
    """Return videos with their questions as one batch."""
    sizes = [[len(asked.suffix.ids) for asked in questions] for _, questions in videos]
    longest, width = max(len(prefix.ids) for prefix, _ in videos), max([BIN, *(max(each, default=0) for each in sizes)])
    bins = [_bins(each, width) for each in sizes]
    most = max(map(len, bins))
    ids = torch.zeros(len(videos), longest + most * width, dtype=torch.long)
    positions = torch.zeros(3, *ids.shape, dtype=torch.long)
    packs: list[Pack] = []
    entries: list[tuple[int, int, tuple[tuple[int, float], ...], float]] = []
    for i, ((prefix, questions), chosen) in enumerate(zip(videos, bins, strict=True)):
        length = len(prefix.ids)
        ids[i, :length], positions[:, i, :length] = prefix.ids, prefix.positions
        columns: dict[int, list[int]] = {}
        for start, numbers in zip(itertools.count(longest, width), chosen + [[]] * (most - len(chosen))):
            row = pack([questions[number].suffix for number in numbers])
            end = start + len(row.ids)
            ids[i, start:end], positions[:, i, start:end] = row.ids, row.depths + prefix.next_position
            reads = iter((row.reads + start).tolist())
            columns |= {number: [next(reads) for _ in questions[number].targets] for number in numbers}
            packs.append(row)
        for number, asked in enumerate(questions):
            told = zip(columns[number], asked.targets, strict=True)
            entries += [(i, column, target, asked.weight) for column, target in told]
    pairs = [(*target, (0, 0.0), (0, 0.0))[:2] for _, _, target, _ in entries]
    return PackedBatch(
        ids=ids,
        positions=positions,
        sees=seen([len(prefix.ids) for prefix, _ in videos for _ in range(most)], packs, longest, width),
        patches=torch.cat([prefix.patches for prefix, _ in videos]),
        grids=torch.tensor([prefix.grid for prefix, _ in videos]),
        rows=torch.tensor([i for i, _, _, _ in entries]),
        columns=torch.tensor([column for _, column, _, _ in entries]),
        targets=torch.tensor([[token for token, _ in pair] for pair in pairs]),
        shares=torch.tensor([[share for _, share in pair] for pair in pairs]),
        weights=torch.tensor([weight for _, _, _, weight in entries]),
        **_aims([asked for _, questions in videos for asked in questions]),
    )


def _bins(lengths: Sequence[int], width: int) -> list[list[int]]:
    """Return which questions, by number, share a bin: each goes into the first that has room for it."""
    bins: list[list[int]] = []
    room: list[int] = []
    for number, length in enumerate(lengths):
        chosen = next((b for b, left in enumerate(room) if left >= length), len(bins))
        if chosen == len(bins):
            bins.append([])
            room.append(width)
        bins[chosen].append(number)
        room[chosen] -= length
    return bins


BLOCKS = "worldcritic_blocks"
"""Name of `attend` among the attention functions of transformers."""


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Attend as a `PackedBatch` says; with any other mask this is transformers' SDPA attention.

    `query` (B, H, L, D), `key` and `value` (B, H', L, D), `attention_mask` (B N, 1, C, P + C); returns (B, L, H, D).
    The video attends to itself, each bin to the video and to itself, which is all that the whole L x L mask would let
    through.
    """
    if attention_mask is None or attention_mask.shape[2] == query.shape[2]:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    blocks, _, width, seen = attention_mask.shape
    count = blocks // len(query)
    parts = [states.split([seen - width, count * width], dim=2) for states in (query, key, value)]
    video, _ = sdpa_attention_forward(module, *(before for before, _ in parts), None, **options)
    query, key, value = (behind.unflatten(2, (count, width)).transpose(1, 2).flatten(0, 1) for _, behind in parts)
    key, value = (
        torch.cat([before.repeat_interleave(count, dim=0), own], dim=2)
        for (before, _), own in zip(parts[1:], (key, value), strict=True)
    )
    asked, _ = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    return torch.cat([video, asked.unflatten(0, (-1, count)).flatten(1, 2)], dim=1), None


AttentionInterface.register(BLOCKS, attend)
AttentionMaskInterface.register(BLOCKS, sdpa_mask)


def _enable_packing(model: nn.Module) -> None:
    """Let the Qwen-VL model in its wrappers take packed batches; all else that it does stays as it is with SDPA."""
    inner = next(module for module in model.modules() if isinstance(module, PreTrainedModel))
    if inner.config.text_config._attn_implementation != BLOCKS:
        inner.set_attn_implementation({"text_config": BLOCKS})


def predictions(model: Any, batch: PackedBatch, vision: Any = None) -> Tensor:
    """Run a Qwen-VL model with its language head on a batch on its device; log-probabilities (R, vocabulary), float32.

    The model is called as a whole, so that wrappers (DDP, FSDP, peft) see it. `vision` is the output of the model's
    `get_video_features` where it was computed already.
    """
    _enable_packing(model)
    if vision is None:
        seen: dict[str, Any] = {"pixel_values_videos": batch.patches, "video_grid_thw": batch.grids}
    else:
        seen = {"mm_encoder_outputs": {"video": vision}}
    columns, where = batch.columns.unique(return_inverse=True)
    logits = model(
        input_ids=batch.ids, position_ids=batch.positions, attention_mask=batch.sees[:, None], use_cache=False,
        logits_to_keep=columns, **seen,
    ).logits  # fmt: skip
    return logits[batch.rows, where].float().log_softmax(dim=-1)


def packed_loss(model: Any, batch: PackedBatch, vision: Any = None) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the weighted mean loss of the batch's predictions and scored orders, `losses` (R,), `lcs_losses` (M,).

    Of a prediction it is the cross-entropy against its (target, share) pairs, -sum_k share_k log p(target_k), p over
    the whole vocabulary; of a scored order `reward.order_loss.lcs_loss`.
    """
    log_p = predictions(model, batch, vision)
    losses = -(batch.shares * log_p.gather(1, batch.targets)).sum(dim=1)
    lcs_losses = _lcs_losses(log_p, batch)
    weights = torch.cat([batch.weights, batch.aims[:, 1]])
    loss = (weights * torch.cat([losses, lcs_losses])).sum() / weights.sum()
    return loss, {"losses": losses.detach(), "lcs_losses": lcs_losses.detach()}


def _lcs_losses(log_p: Tensor, batch: PackedBatch) -> Tensor:
    """Return the loss of each scored order (M,) from the log-probabilities (R, vocabulary) of all predictions."""
    losses = [log_p.new_zeros(0)]
    for (start, num_events), (first, later), (target, _) in zip(
        batch.orders.tolist(), batch.letters, batch.aims, strict=True
    ):
        found = log_p[start : start + len(order_table(num_events).possible)]
        kept = slice(num_events + 1)
        next_letter = torch.cat([found[:1, first[kept]], found[1:, later[kept]]])
        losses.append(lcs_loss(next_letter, num_events, target)[None])
    return torch.cat(losses)


def _aims(questions: Sequence[Asked]) -> dict[str, Tensor]:
    """Return the tensors of the scored orders among the questions."""
    orders, ids, aims, start = [], [], [], 0
    for asked in questions:
        if (aim := asked.aim) is not None:
            orders.append((start, aim.num_events))
            ids.append([[*row, *[0] * (EXACT_EVENTS + 1 - len(row))] for row in (aim.first, aim.later)])
            aims.append((aim.target, aim.weight))
        start += len(asked.targets)
    return {
        "orders": torch.tensor(orders, dtype=torch.long).reshape(-1, 2),
        "letters": torch.tensor(ids, dtype=torch.long).reshape(-1, 2, EXACT_EVENTS + 1),
        "aims": torch.tensor(aims, dtype=torch.float32).reshape(-1, 2),
    }
