"""What a critic says: answers to checks, a distribution over event orders, and the protocol of a critic."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from reward.prompts import Prompt

if TYPE_CHECKING:
    from reward.video import Clip, FrameSampling


@dataclass(frozen=True)
class Answer:
    """An answer to one check.

    `p_yes` in [0, 1] is softmax over (logsumexp of the Yes spellings, logsumexp of the No spellings); `answer_mass`
    in [0, 1] is the probability of all these spellings together: near 0 the model did not answer Yes or No at all.
    """

    p_yes: float
    answer_mass: float


@dataclass(frozen=True)
class Order:
    """A distribution over ordered subsets of a prompt's events.

    `probabilities` maps letter strings ("" for none, "BA", ...) to probabilities. For up to five events it holds all
    of them and sums to one; beyond, it holds what a beam kept, and `expected_lcs` is renormalised over that.
    `answer_mass` is the probability that the answer begins with a letter or with None at all.
    """

    num_events: int
    probabilities: Mapping[str, float] = field(repr=False)
    answer_mass: float = 1.0

    @property
    def best(self) -> str:
        """The most probable order; ties go to the alphabetically first string."""
        return min(self.probabilities, key=lambda letters: (-self.probabilities[letters], letters))

    @property
    def covered(self) -> float:
        """The probability of everything in `probabilities`: 1 unless a beam left something out."""
        return sum(self.probabilities.values())

    @property
    def expected_lcs(self) -> float:
        """E[LCS with the asked order], in [0, num_events]."""
        return self._moment(1)

    @property
    def variance_lcs(self) -> float:
        """Var[LCS with the asked order]."""
        return max(0.0, self._moment(2) - self._moment(1) ** 2)

    def _moment(self, power: int) -> float:
        asked = letters(self.num_events)
        total = sum(p * lcs_length(asked, order) ** power for order, p in self.probabilities.items())
        return total / self.covered


@dataclass(frozen=True)
class Judgement:
    """A critic's answers on one video: one per asked check, in the prompt's order, and the event order if asked."""

    answers: tuple[Answer, ...]
    order: Order | None = None


class Critic(Protocol):
    """Anything that judges videos. `identity` is a JSON object that names it and everything its answers depend on."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """What made the answers: name, weights, wording, frames, pixels."""
        ...

    @property
    def sampling(self) -> "FrameSampling":
        """How clips for this critic are sampled."""
        ...

    def judge(self, clips: Sequence["Clip"], prompts: Sequence[Prompt]) -> list[Judgement]:
        """Judge each clip against the prompt beside it."""
        ...


def letters(num_events: int) -> str:
    """Return the asked order of `num_events` events: "ABC" for three."""
    return "".join(chr(ord("A") + i) for i in range(num_events))


def lcs_length(a: str, b: str) -> int:
    """Return the length of the longest common subsequence of two strings."""
    row = [0] * (len(b) + 1)
    for x in a:
        diagonal = 0
        for j, y in enumerate(b, start=1):
            diagonal, row[j] = row[j], diagonal + 1 if x == y else max(row[j], row[j - 1])
    return row[-1]
