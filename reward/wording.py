"""The words in which a critic is asked. A critic is trained on exactly these, so their hash is in its manifest."""

from collections.abc import Sequence

from reward.answers import letters
from reward.files import sha256_json

CHECK = "Look at the video and answer the question.\nQuestion: {question}\nAnswer with Yes or No."

ORDER = (
    "These events may happen in the video:\n{events}\n"
    "Which of them happen, and in which order? Answer with the letters of the events that happen, from first to last, "
    "separated by spaces. Leave out what does not happen. Answer None if nothing of it happens."
)

YES = ("Yes", "yes", "YES", " Yes", " yes", " YES")
NO = ("No", "no", "NO", " No", " no", " NO")
NONE = "None"

WORDING_HASH = sha256_json([CHECK, ORDER, YES, NO, NONE])


def check_text(question: str) -> str:
    """Return what is asked for one yes/no check."""
    return CHECK.replace("{question}", question)


def order_text(events: Sequence[str]) -> str:
    """Return what is asked for the order of the events, which get the letters A, B, C, ... as they come."""
    listed = (f"{letter}: {event}" for letter, event in zip(letters(len(events)), events, strict=True))
    return ORDER.replace("{events}", "\n".join(listed))


def order_answer(order: str) -> str:
    """Return how an order is written as an answer: "CA" as "C A", "" as "None"."""
    return " ".join(order) or NONE
