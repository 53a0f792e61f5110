"""Questions behind a shared video prefix: token trees, their block masks and positions.

A suffix is a tree of tokens. A yes/no question is a chain; the event order is a chain (the question) from which the
letters branch as a trie. A token sees the video, its ancestors and itself, so that any number of suffixes packed into
one sequence gets what each would get alone.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PREFIX = -1
"""The parent of a suffix's first token: the video."""


@dataclass(frozen=True)
class Suffix:
    """A tree of L tokens. `parents[i] < i` is the token before token i; at `reads` the next token is predicted."""

    ids: tuple[int, ...]
    parents: tuple[int, ...]
    reads: tuple[int, ...]

    def depths(self) -> list[int]:
        """Return each token's distance from the video, from 0: its position relative to the suffix's start."""
        depths: list[int] = []
        for parent in self.parents:
            depths.append(0 if parent == PREFIX else depths[parent] + 1)
        return depths

    def sees(self) -> Tensor:
        """Return which token attends to which (L, L), bool: to its ancestors and itself."""
        if self.parents == tuple(range(-1, len(self.ids) - 1)):
            return torch.ones(len(self.ids), len(self.ids), dtype=torch.bool).tril()
        sees = torch.eye(len(self.ids), dtype=torch.bool)
        for i, parent in enumerate(self.parents):
            if parent != PREFIX:
                sees[i] |= sees[parent]
        return sees

    def paths(self) -> list[tuple[list[int], list[int]]]:
        """Return root-to-leaf paths that together pass every token, as (token indices, reads first met on it)."""
        inner = set(self.parents)
        left = set(self.reads)
        paths = []
        for leaf in (i for i in range(len(self.ids)) if i not in inner):
            path = [leaf]
            while self.parents[path[0]] != PREFIX:
                path.insert(0, self.parents[path[0]])
            fresh = [i for i in path if i in left]
            left -= set(fresh)
            paths.append((path, fresh))
        return paths


def chain(ids: Sequence[int]) -> Suffix:
    """Return a plain question: each token follows the one before, and the last one predicts the answer."""
    return Suffix(tuple(ids), tuple(range(-1, len(ids) - 1)), (len(ids) - 1,))


def trie(question: Sequence[int], prefixes: Sequence[str], letter_ids: Sequence[tuple[int, int]]) -> Suffix:
    """Return the event-order question with a token per prefix of letters; read r predicts what follows `prefixes[r]`.

    `prefixes` begins with "" and names no prefix before its own beginning. `letter_ids[i]` are the token ids of letter
    i as the first letter of the answer and as a later one.
    """
    ids, parents = list(question), list(range(-1, len(question) - 1))
    node = {"": len(question) - 1}
    for prefix in prefixes[1:]:
        first, later = letter_ids[ord(prefix[-1]) - ord("A")]
        node[prefix] = len(ids)
        ids.append(first if len(prefix) == 1 else later)
        parents.append(node[prefix[:-1]])
    return Suffix(tuple(ids), tuple(parents), tuple(node[prefix] for prefix in prefixes))


@dataclass(frozen=True)
class Pack:
    """Suffixes laid side by side in one row of S tokens: `ids` (S,), `depths` (S,), `sees` (S, S) bool, `reads`."""

    ids: Tensor
    depths: Tensor
    sees: Tensor
    reads: Tensor


def pack(suffixes: Sequence[Suffix]) -> Pack:
    """Return suffixes as one row; `sees[i, j]` says that token i attends to token j: its ancestor or itself."""
    ids = [token for suffix in suffixes for token in suffix.ids]
    depths = [depth for suffix in suffixes for depth in suffix.depths()]
    starts = [0, *itertools.accumulate(len(suffix.ids) for suffix in suffixes)]
    reads = [start + i for start, suffix in zip(starts, suffixes, strict=False) for i in suffix.reads]
    sees = torch.block_diag(*(suffix.sees() for suffix in suffixes)) if suffixes else torch.zeros(0, 0)
    columns = [torch.tensor(each, dtype=torch.long) for each in (ids, depths, reads)]
    return Pack(columns[0], columns[1], sees.bool(), columns[2])


def seen(lengths: Sequence[int], packs: Sequence[Pack], longest: int, width: int) -> Tensor:
    """Return what packs padded to `width` see behind videos padded to `longest`: (packs, width, longest + width), bool.

    A token sees its video, `lengths` tokens of it, its ancestors and itself; padding sees the video and itself.
    """
    sees = torch.zeros(len(packs), width, longest + width, dtype=torch.bool)
    sees[..., longest:] = torch.eye(width, dtype=torch.bool)
    for row, length, each in zip(sees, lengths, packs, strict=True):
        row[:, :length] = True
        row[: len(each.ids), longest : longest + len(each.ids)] = each.sees
    return sees
