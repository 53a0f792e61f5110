"""The critic's expected LCS as a differentiable number: VideoVerse's event score, as an aim of training.

E[LCS] is what the reward pays for events (`reward.answers.Order.expected_lcs`): the sum over all ordered subsets o of
the asked events of p(o) LCS(asked, o), with p(o) the product of the critic's next-letter probabilities, renormalised
over the letters not yet used and stop (`reward.order.distribution`). Here it is the same sum on tensors.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations

import torch
from torch import Tensor

from reward.answers import lcs_length, letters
from reward.order import open_prefixes


@dataclass(frozen=True)
class OrderTable:
    """The trie of n events as tensors; P open prefixes, in the order of `open_prefixes(n)`, and O ordered subsets.

    `possible` (P, n + 1) bool: whether each letter, and last stop, may follow a prefix. `paths` (O, n + 1): the steps
    that make an ordered subset, as indices into the flattened (P, n + 1) table; P (n + 1), one beyond it, stands for no
    step. `lcs` (O,): the length of its longest common subsequence with the asked order.
    """

    possible: Tensor
    paths: Tensor
    lcs: Tensor


@lru_cache(maxsize=8)
def order_table(num_events: int) -> OrderTable:
    """Return the trie of `num_events` events, at most `reward.order.EXACT_EVENTS` of them."""
    asked, prefixes = letters(num_events), open_prefixes(num_events)
    row = {prefix: i * (num_events + 1) for i, prefix in enumerate(prefixes)}
    possible = [[letter not in prefix for letter in asked] + [True] for prefix in prefixes]
    paths, lcs = [], []
    for length in range(num_events + 1):
        for order in map("".join, permutations(asked, length)):
            steps = [row[order[:i]] + asked.index(letter) for i, letter in enumerate(order)]
            steps += [row[order] + num_events] if order in row else []  # nothing but stopping follows all letters
            paths.append(steps + [len(prefixes) * (num_events + 1)] * (num_events + 1 - len(steps)))
            lcs.append(float(lcs_length(asked, order)))
    return OrderTable(torch.tensor(possible), torch.tensor(paths), torch.tensor(lcs))


def expected_lcs(next_letter: Tensor, num_events: int) -> Tensor:
    """Return E[LCS] in [0, n] from log-probabilities or logits (P, n + 1) of each letter, and last of stopping.

    VideoVerse (arXiv 2510.08398) scores an order by its LCS with the asked one; this is the expectation of that score
    under the critic's own distribution: E[LCS] = sum_o LCS(asked, o) prod_i q(o_i | o_1 ... o_(i-1)), where q is the
    softmax over the letters not yet used and stop. What is added to all of a row's values changes nothing.
    """
    table = order_table(num_events)
    scores = next_letter.masked_fill(~table.possible.to(next_letter.device), -torch.inf)
    # -inf stays out of the gathered sums: an ordered subset takes possible steps only.
    steps = torch.cat([scores.log_softmax(dim=-1).flatten(), next_letter.new_zeros(1)])
    p = steps[table.paths.to(next_letter.device)].sum(dim=-1).exp()
    return p @ table.lcs.to(p)


def lcs_loss(next_letter: Tensor, num_events: int, target: float | Tensor) -> Tensor:
    """Return (E[LCS] / n - target)^2, with `target` = LCS(asked, the teacher's order) / n in [0, 1].

    A squared error like the Brier score: least where the paid share of events equals the teacher's, and the same for
    all orders of one score, so that it teaches the score and not the order.
    """
    return (expected_lcs(next_letter, num_events) / num_events - target) ** 2
