"""From what a served model wrote, and how probable its words were, to a reply."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from reward.reading import read_order, read_yes_no
from reward.teacher import Question, Reply

TOP_LOGPROBS = 20
"""The most that OpenAI's and vLLM's servers list by default."""

_THOUGHT = re.compile(r"^\s*<think>.*?</think>", re.DOTALL)
_REFUSES = re.compile(
    r"^\W*(?:i['’]?m sorry|i am sorry|sorry|i (?:can['’]?t|cannot|won['’]?t) (?:help|assist|answer|comply|view|watch|"
    r"see|analy[sz]e|provide)|i['’]?m (?:unable|not able)|i am (?:unable|not able)|as an ai\b)",
    re.IGNORECASE,
)
_MARKUP = set(" \t\r\n*_`\"'.:>")


@dataclass(frozen=True)
class Token:
    """A written token and the log-probabilities of the likeliest tokens in its place."""

    text: str
    top: Mapping[str, float] = field(default_factory=dict)


def read_reply(question: Question, text: str | None, tokens: Sequence[Token] = (), cut_off: bool = False) -> Reply:
    """Return the reply that a text is: an answer, a refusal (empty, or refusing in words), or unparsed.

    `tokens` are the written tokens, if the server tells their probabilities: then a check's p_yes is that of the Yes
    spellings among Yes and No spellings where the answer stands, and `answer_mass` their sum; else it is 1 or 0. A
    text that was cut off at the token limit could have changed its mind: it is an answer only if it is one word.
    """
    said = _THOUGHT.sub("", text or "")
    if not said.strip():
        return _no_text(text, cut_off)
    whole = not cut_off or (question.kind == "check" and len(said.split()) == 1)
    reply = _answer(question, said, tokens) if whole else None
    if reply is None:
        if _REFUSES.match(said):
            return Reply("refusal", raw=text, reason="the teacher refuses in words")
        why = "it was cut off at the token limit" if cut_off else "it gives no clear answer"
        return Reply("unparsed", raw=text, reason=f"the reply cannot be read: {why}")
    return replace(reply, raw=text)


def yes_no_probability(tokens: Sequence[Token]) -> tuple[float, float] | None:
    """Return (p_yes, answer mass) at the first token that says Yes or No, markup before it aside.

    p_yes = sum of the Yes spellings' probabilities / that of Yes and No spellings. A spelling that is not among the
    listed tokens counts as 0. None where something else is written first or no probabilities are listed.
    """
    for token in tokens:
        if _spelling(token.text) is not None:
            yes, no = (_mass(token.top, word) for word in ("yes", "no"))
            return (yes / (yes + no), min(yes + no, 1.0)) if yes + no > 0 else None
        if not set(token.text) <= _MARKUP:
            return None
    return None


def _no_text(text: str | None, cut_off: bool) -> Reply:
    if cut_off:
        return Reply("unparsed", raw=text, reason="the token limit was reached before an answer; raise --max_tokens")
    return Reply("refusal", raw=text, reason="the reply is empty")


def _answer(question: Question, said: str, tokens: Sequence[Token]) -> Reply | None:
    if question.kind == "order":
        order = read_order(said, len(question.events))
        return None if order is None else Reply("answer", order, p_source="parsed")
    read = read_yes_no(said)
    if read is None:
        return None
    found = yes_no_probability(tokens)
    if found is None:
        return Reply("answer", "yes" if read else "no", float(read), "parsed")
    p_yes, mass = found
    return Reply("answer", "yes" if p_yes >= 0.5 else "no", p_yes, "logprobs", mass)


def _spelling(token: str) -> str | None:
    word = token.strip().casefold()
    return word if word in ("yes", "no") else None


def _mass(top: Mapping[str, float], word: str) -> float:
    return math.fsum(math.exp(value) for token, value in top.items() if _spelling(token) == word)
