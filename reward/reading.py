"""Read answers that a model wrote: yes or no, and the order of events. What is not clear is unanswered, never "no".

This is the robust reading. VideoVerse's own counting, which takes everything but the word yes for no, is in
`reward.videoverse`.
"""

import re
from typing import Any

from reward.answers import letters

_MARKUP = re.compile(r"</?[A-Za-z]+>|\\boxed|[*_`]")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_PREAMBLE = re.compile(r"^\W*(?:(?:the|my|final|short|correct|answer|response|output)\W+)+(?:is\W+)?", re.IGNORECASE)
_DETERMINER = re.compile(
    r"\bno[ \t]+(?!(?:yes|because|as|since|but|the|it|its|this|that|these|those|there|they|he|she|we|you|i|in|at|or"
    r"|and)\b)(?=[a-z])",
    re.IGNORECASE,
)
"""The no of "no ball", which denies the ball and need not answer the question."""
_DOUBT = {"not", "cannot", "neither", "nor", "or", "whether", "if", "unclear", "unsure", "maybe", "perhaps"}

_NONE = {"none", "nothing", "null", "empty"}
_BETWEEN = {"then", "and", "next", "finally", "first", "second", "third", "followed", "by", "before", "event", "events"}
_BETWEEN |= {"order", "the", "is", "answer", "no"}
_RUN_LETTERS = 8
"""VideoVerse's question names up to eight events, A to H: a word made of other capitals is a word, not an order."""


def read_yes_no(answer: Any) -> bool | None:
    """Return the yes or no that an answer gives, None where it gives neither clearly.

    true and false are answers. A text is one if it begins or ends with the whole word yes or no, in any case, markup
    and "The answer is" aside, and gives the other answer nowhere: "Yes.", "**no**", "yes, because it rolls", "Yes,
    there is no mould". The no of "no mould" is no answer: "No mould is visible" is unanswered. So is a text that only
    ends with the word and is in doubt ("I would not say yes", "yes or no"), "wrong", "snow", null and a number.
    """
    if isinstance(answer, bool):
        return answer
    if not isinstance(answer, str):
        return None
    text = _DETERMINER.sub("without ", _PREAMBLE.sub("", _MARKUP.sub(" ", answer)))
    words = [word.casefold() for word in _WORD.findall(text)]
    if ("yes" in words) == ("no" in words):
        return None
    said = "yes" if "yes" in words else "no"
    if words[0] == said and words[1:2] != ["or"]:
        return said == "yes"
    in_doubt = any(word in _DOUBT or word.endswith(("n't", "n’t")) for word in words)
    return said == "yes" if words[-1] == said and not in_doubt else None


def read_order(answer: Any, num_events: int) -> str | None:
    """Return the events that an answer names, in its order, as different letters of "AB.."; None where it is unclear.

    An answer names events by letters, in any case, parted by anything but prose: "A, B", "BA", "a then b", "A->B",
    "Event B before event A". "None" and "no event" are the empty order. A letter named again counts where it is named
    first, a letter beyond `num_events` not at all. None for other words among the letters ("A man walks", "B after
    A"), for letters beside "None", for an empty text and for what is no text.
    """
    if not isinstance(answer, str):
        return None
    words = _WORD.findall(_MARKUP.sub(" ", answer))
    folded = {word.casefold() for word in words}
    named = ""
    for word in words:
        if word.casefold() in _BETWEEN | _NONE:
            continue
        if not _is_letters(word, num_events):
            return None
        named += word.upper()
    says_none = bool(folded & _NONE) or ("no" in folded and bool(folded & {"event", "events"}))
    if says_none == bool(named) or ("no" in folded and not says_none):
        return None
    asked = letters(num_events)
    return "".join(letter for i, letter in enumerate(named) if letter in asked and letter not in named[:i])


def _is_letters(word: str, num_events: int) -> bool:
    """A single letter, or a run of capitals or of one case that can only be event letters."""
    if len(word) == 1:
        return word.isascii()
    usual = set(letters(max(num_events, _RUN_LETTERS)))
    asked = set(letters(num_events))
    return (word.isupper() and set(word) <= usual) or (word.islower() and set(word.upper()) <= asked)
