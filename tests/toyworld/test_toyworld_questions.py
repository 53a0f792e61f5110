import itertools

import pytest

from reward.dimensions import CHECK_NAMES
from toyworld.questions import CHECKS, EVENTS, SLOT_VALUES, asked_colours, parse_event, parse_question, statement


def fillings(wording):
    slots = [slot for slot in SLOT_VALUES if f"{{{slot}}}" in wording]
    for values in itertools.product(*(SLOT_VALUES[slot] for slot in slots)):
        yield dict(zip(slots, values, strict=True))


@pytest.mark.parametrize("name", CHECKS)
def test_every_wording_of_a_question_is_parsed_back(name):
    template = CHECKS[name]
    assert template.dimension in CHECK_NAMES
    for slots in fillings(template.question):
        assert parse_question(template.question.format(**slots)) == (template, slots)


@pytest.mark.parametrize("name", EVENTS)
def test_every_wording_of_an_event_is_parsed_back(name):
    for slots in fillings(EVENTS[name].text):
        assert parse_event(EVENTS[name].text.format(**slots)) == (EVENTS[name], slots)


@pytest.mark.parametrize("question", ["", "Is the ball red", "Is the elephant red?", "Does the camera dance?"])
def test_other_wordings_are_not_parsed(question):
    assert parse_question(question) is None


def test_statement_turns_the_camera_question_into_a_sentence():
    assert statement(CHECKS["camera"], {"camera": "pan to the left"}) == "The camera pans to the left."
    assert statement(CHECKS["camera"], {"camera": "stay still"}) == "The camera stays still."


def test_first_mention_of_a_colour_counts():
    assert asked_colours("We see a red ball and a green ice cube. A blue ball.") == {"ball": "red", "ice cube": "green"}
