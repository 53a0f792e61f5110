"""Which token ids are answers: Yes and No spellings, event letters, None and the end of the answer."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reward.answers import letters
from reward.errors import CriticError
from reward.prompts import MAX_EVENTS
from reward.wording import NO, NONE, YES

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class AnswerTokens:
    """Token ids of answers; `letters[i]` is letter i as the first of an answer and as a later one."""

    yes: tuple[int, ...]
    no: tuple[int, ...]
    letters: tuple[tuple[int, int], ...]
    none: int
    stop: int

    @property
    def all(self) -> tuple[int, ...]:
        """Every answer token once, in a fixed order."""
        both = (token for pair in self.letters for token in pair)
        return tuple(dict.fromkeys((*self.yes, *self.no, *both, self.none, self.stop)))

    def needed_letters(self, num_events: int) -> tuple[tuple[int, int], ...]:
        """Return the ids of the first letters; CriticError if the tokenizer has too few as single tokens."""
        if num_events > len(self.letters):
            raise CriticError(f"this critic's tokenizer names only {len(self.letters)} events, {num_events} are asked")
        return self.letters[:num_events]


def answer_tokens(tokenizer: "PreTrainedTokenizerBase") -> AnswerTokens:
    """Look the answers up in a tokenizer.

    Raises CriticError where "Yes", "No", "None" or the first letters are not single tokens: their probability could
    not be read off one position. Other spellings of Yes and No count where they are single tokens.
    """
    pairs = []
    for letter in letters(MAX_EVENTS):
        pair = _single(tokenizer, letter), _single(tokenizer, " " + letter)
        if pair[0] is None or pair[1] is None:
            break
        pairs.append((pair[0], pair[1]))
    required = {text: _single(tokenizer, text) for text in (YES[0], NO[0], NONE, "<|im_end|>")}
    if not pairs:
        required["A"] = None
    if missing := [text for text, token in required.items() if token is None]:
        raise CriticError(f"the critic's tokenizer has no single token for {', '.join(map(repr, missing))}")
    return AnswerTokens(
        _present(tokenizer, YES), _present(tokenizer, NO), tuple(pairs),
        none=_present(tokenizer, (NONE,))[0], stop=_present(tokenizer, ("<|im_end|>",))[0],
    )  # fmt: skip


def _single(tokenizer: "PreTrainedTokenizerBase", text: str) -> int | None:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return int(ids[0]) if len(ids) == 1 and ids[0] != tokenizer.unk_token_id else None


def _present(tokenizer: "PreTrainedTokenizerBase", spellings: tuple[str, ...]) -> tuple[int, ...]:
    found = (_single(tokenizer, spelling) for spelling in spellings)
    return tuple(dict.fromkeys(token for token in found if token is not None))
