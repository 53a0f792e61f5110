"""All questions and answers of a video in one training sequence: one vision pass, one prefix, the same gradient.

Each question and its answer see the video and themselves, as if they were the only ones; positions restart behind the
video. The loss is a weighted mean over predicted tokens, each with its own target distribution: Yes and No in the
teacher's proportion for a check, one token at a time for an event order or any other text. An event order may also be
asked for by its score: then one term of the mean is the squared error of its expected LCS.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from reward.frontend import Prefix
from reward.order import EXACT_EVENTS, open_prefixes
from reward.order_loss import lcs_loss, order_table
from reward.suffixes import Suffix, chain, pack, trie
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
    """B videos, each with its questions behind it, right-padded to L tokens.

    `ids` (B, L); `positions` (3, B, L); `sees` (B, L, L) bool; `patches` and `grids` as the model takes them. R
    predictions: `rows`, `columns` (R,) say where, `targets` (R, 2) and `shares` (R, 2) what, `weights` (R,) how much.
    M scored orders: `orders` (M, 2) says at which prediction a trie begins and of how many events, `letters`
    (M, 2, EXACT_EVENTS + 1) the `first` and `later` tokens of its OrderAim, `aims` (M, 2) its target and weight.
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
    pairs = [(*target, (0, 0.0), (0, 0.0))[:2] for _, _, target, _ in entries]
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
        **_aims([asked for _, questions in videos for asked in questions]),
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
