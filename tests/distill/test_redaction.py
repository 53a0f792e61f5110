import pytest

from distill.redaction import HIDDEN, redact


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "key {} is wrong",
        '{{"error": "Incorrect API key provided: {}"}}',
        "Authorization: Bearer {}",
        "?key={}&x=1",
    ],
)
@pytest.mark.parametrize(
    "secret", ["sk-proj-abc_DEF-0123456789", "AIzaSyA-0123456789abcdefghij", "hf_abcdefghijklmnop"]
)
def test_what_looks_like_a_key_is_hidden(text, secret):
    hidden = redact(text.format(secret))
    assert secret not in hidden
    assert HIDDEN in hidden


def test_a_known_secret_is_hidden_whatever_it_looks_like():
    assert redact("it is correcthorse!", ["correcthorse"]) == f"it is {HIDDEN}!"
    assert redact("nothing", ["", "x" * 9]) == "nothing"


def test_plain_words_stay():
    text = "The desk-top risk-taker asks: a task-oriented sk8er? hf_ and AIza alone; bearer of news"
    assert redact(text) == text
