import math

import pytest

from distill.teachers.replies import Token, read_reply, yes_no_probability
from reward.teacher import Question

CHECK = Question("check", "mechanics", "Does it fall?")
ORDER = Question("order", "event_following", "Which?", ("It falls.", "It bounces.", "It stops."))


def token(text, **probabilities):
    return Token(text, {name.replace("_", " "): math.log(p) for name, p in probabilities.items()})


def test_yes_spellings_are_summed_against_no_spellings():
    found = yes_no_probability([token("Yes", Yes=0.5, _yes=0.1, YES=0.1, No=0.2, _no=0.05, Maybe=0.05)])
    assert found == pytest.approx((0.7 / 0.95, 0.95))


def test_markup_before_the_answer_is_passed_over_but_no_word_is():
    answer = token("No", Yes=0.25, No=0.75)
    assert yes_no_probability([token("**", Yes=0.9), answer]) == pytest.approx((0.25, 1.0))
    assert yes_no_probability([token("I", Yes=0.9), answer]) is None
    assert yes_no_probability([Token("Yes")]) is None
    assert yes_no_probability([]) is None


def test_a_check_is_answered_by_probability_or_else_by_its_text():
    soft = read_reply(CHECK, "Yes", [token("Yes", Yes=0.6, No=0.3)])
    assert (soft.state, soft.answer, soft.p_source, soft.raw) == ("answer", "yes", "logprobs", "Yes")
    assert (soft.p_yes, soft.answer_mass) == pytest.approx((2 / 3, 0.9))
    hard = read_reply(CHECK, "No.")
    assert (hard.state, hard.answer, hard.p_yes, hard.p_source) == ("answer", "no", 0.0, "parsed")
    assert hard.answer_mass is None


def test_a_thought_before_the_answer_is_not_the_answer():
    reply = read_reply(CHECK, "<think>yes? It seems so... no.</think>\nYes", [token("<think>", Yes=0.1, No=0.2)])
    assert (reply.answer, reply.p_yes, reply.p_source) == ("yes", 1.0, "parsed")
    assert reply.raw.startswith("<think>")


@pytest.mark.parametrize(
    ("text", "order"), [("A C", "AC"), ("None", ""), ("C, A, B", "CAB"), ("**B**", "B"), ("a then b", "AB")]
)
def test_orders_are_read(text, order):
    reply = read_reply(ORDER, text)
    assert (reply.state, reply.answer, reply.p_yes) == ("answer", order, None)


@pytest.mark.parametrize("text", ["It depends.", "snow", "Yes and no", "{", "42"])
def test_what_is_unclear_is_unparsed_with_its_text_and_never_a_no(text):
    reply = read_reply(CHECK, text)
    assert (reply.state, reply.answer, reply.p_yes, reply.raw) == ("unparsed", None, None, text)
    assert reply.reason


@pytest.mark.parametrize("text", ["I'm sorry, but I can't help with that.", "I cannot view videos.", "", None, " \n"])
def test_refusals_in_words_and_empty_texts_are_refusals(text):
    reply = read_reply(CHECK, text)
    assert (reply.state, reply.answer, reply.p_yes, reply.raw) == ("refusal", None, None, text)


def test_a_text_cut_off_before_its_answer_is_unparsed():
    assert read_reply(CHECK, "", cut_off=True).state == "unparsed"
    assert "max_tokens" in read_reply(CHECK, None, cut_off=True).reason
    assert "cut off" in read_reply(CHECK, "Let me look at the", cut_off=True).reason


def test_a_cut_off_reply_is_an_answer_only_if_it_is_one_word():
    assert read_reply(CHECK, "Yes", [token("Yes", Yes=0.6, No=0.2)], cut_off=True).p_yes == pytest.approx(0.75)
    assert read_reply(CHECK, "No, wait. The ball", cut_off=True).state == "unparsed"
    assert read_reply(ORDER, "A C", cut_off=True).state == "unparsed"
