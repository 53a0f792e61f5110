import pytest
from hypothesis import given
from hypothesis import strategies as st

from reward.reading import read_order, read_yes_no


@pytest.mark.parametrize(
    "text",
    ["yes", "Yes.", " YES ", "yes, because it rolls", "**Yes**", "<output>Yes</output>", "The answer is yes.",
     "Answer: yes", "Yes\n\nThere isn't any mould", "Yes, there is no mould", "It rolls, so yes!", "\\boxed{Yes}"],
)  # fmt: skip
def test_yes(text: str) -> None:
    assert read_yes_no(text) is True


@pytest.mark.parametrize(
    "text",
    ["no", "No.", " NO ", "no, it stays", "**No**", "Answer: No", "No, there is no ball", "no because it stays",
     "No\nThe ball stays", "So the answer is no"],
)  # fmt: skip
def test_no(text: str) -> None:
    assert read_yes_no(text) is False


@pytest.mark.parametrize(
    "answer",
    ["", "snow", "not", "I know", "wrong", "nope", "y", "yes or no", "Yes and no", "Yes. No.", "yes/no", "no yes",
     "There is no ball", "No mould is visible", "I would not say yes", "I can't say no", "Not yes", "maybe yes",
     "yesno", "Yesterday", None, 1, 0, 0.5, ["yes"], {"answer": "yes"}],
)  # fmt: skip
def test_unclear_is_unanswered(answer: object) -> None:
    assert read_yes_no(answer) is None


def test_booleans_are_answers() -> None:
    assert read_yes_no(True) is True
    assert read_yes_no(False) is False


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("AB", "AB"),
        ("A, B", "AB"),
        ("B,A", "BA"),
        ("a then b", "AB"),
        ("ba", "BA"),
        ("A->C", "AC"),
        ("[A, C]", "AC"),
        ("1. C 2. A", "CA"),
        ("**A**, B and then C", "ABC"),
        ("<output>B</output>", "B"),
        ("Event B before event A", "BA"),
        ("The order is B, A.", "BA"),
        ("AAB", "AB"),
        ("A, B, A", "AB"),
        ("ABD", "AB"),
        ("D", ""),
        ("N", ""),
        ("None", ""),
        ("none.", ""),
        ("No event", ""),
    ],
)
def test_order_of_three_events(text: str, order: str) -> None:
    assert read_order(text, 3) == order


@pytest.mark.parametrize(
    "answer",
    [
        "",
        " ",
        "A man walks",
        "B after A",
        "A, None",
        "BECAUSE",
        "no",
        "No, A",
        "I see A",
        "bad",
        "Ä",
        None,
        3,
        True,
        ["A"],
    ],
)
def test_unclear_order_is_unanswered(answer: object) -> None:
    assert read_order(answer, 3) is None


@given(st.permutations("ABCDE"), st.integers(0, 5), st.sampled_from([", ", "", " then ", "->", "\n"]))
def test_every_order_is_read_back(letters: list[str], length: int, between: str) -> None:
    order = "".join(letters[:length])
    assert read_order(between.join(order) or "None", 5) == order


@given(st.text(), st.integers(1, 26))
def test_any_text_is_read_or_refused(text: str, num_events: int) -> None:
    order = read_order(text, num_events)
    assert order is None or len(set(order)) == len(order) <= num_events
    assert read_yes_no(text) in (True, False, None)
