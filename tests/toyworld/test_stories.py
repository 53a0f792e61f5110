from collections import Counter

import numpy as np
import pytest

from reward.dimensions import CHECK_NAMES
from reward.errors import InputError
from reward.files import write_json
from reward.prompts import Check, load_prompts
from toyworld.oracle import judge
from toyworld.questions import CHECKS, EVENTS, asked_colours, parse_event, parse_question
from toyworld.stories import STORIES, absent_check, sample_prompt
from toyworld.world import World, sample_clip


@pytest.fixture(scope="module")
def prompts():
    return [sample_prompt(np.random.default_rng([3, index]), f"toy-{index:06d}") for index in range(300)]


def test_prompts_cover_every_dimension_template_and_event_count(prompts):
    assert {check.dimension for toy in prompts for check in toy.prompt.checks} == set(CHECK_NAMES)
    assert {question.template for toy in prompts for question in toy.plan.questions} == set(CHECKS)
    assert {event.template for toy in prompts for event in toy.plan.events} == set(EVENTS)
    assert {len(toy.prompt.events) for toy in prompts} == {1, 2, 3, 4}
    assert {toy.plan.story for toy in prompts} == set(STORIES)


def test_prompt_text_names_every_colour_and_every_camera_motion_asked(prompts):
    for toy in prompts:
        assert asked_colours(toy.prompt.text) == dict(toy.plan.colours)
        assert len(set(toy.plan.colours.values())) == len(toy.plan.colours) <= 3
        assert "The camera " in toy.prompt.text


def test_every_question_and_event_parses_back_to_what_wrote_it(prompts):
    for toy in prompts:
        for question, check in zip(toy.plan.questions, toy.prompt.checks, strict=True):
            assert parse_question(check.question) == (CHECKS[question.template], dict(question.slots))
        for event, text in zip(toy.plan.events, toy.prompt.events, strict=True):
            assert parse_event(text) == (EVENTS[event.template], dict(event.slots))


def test_prompts_survive_videoverse_file(prompts, tmp_path):
    write_json(tmp_path / "prompts.json", {toy.prompt.id: toy.prompt.to_videoverse() for toy in prompts})
    assert load_prompts(tmp_path / "prompts.json") == {toy.prompt.id: toy.prompt for toy in prompts}


def test_a_prompt_depends_on_its_generator_alone():
    one, two, other = (sample_prompt(np.random.default_rng(seed), "toy-000000") for seed in (5, 5, 6))
    assert one == two
    assert one != other


@pytest.mark.parametrize("story", STORIES)
def test_a_story_and_a_camera_can_be_asked_for(story):
    for seed in range(10):
        toy = sample_prompt(np.random.default_rng(seed), "p", story=story, camera="zoom in")
        assert (toy.plan.story, toy.plan.camera) == (story, "zoom in")
        assert len(toy.plan.colours) == {"journey": 1, "solo": 1, "trio": 3, "stage_and_one": 3}.get(story, 2)


def test_a_pan_that_would_lose_things_is_refused():
    with pytest.raises(InputError, match="stage_and_one"):
        sample_prompt(np.random.default_rng(0), "p", story="stage_and_one", camera="pan to the left")


def test_absent_questions_are_about_nouns_the_prompt_does_not_name_and_the_oracle_says_no(prompts):
    world, asked = World(), Counter[str]()
    for index, toy in enumerate(prompts[:60]):
        rng = np.random.default_rng(index)
        check = absent_check(rng, toy)
        parsed = parse_question(check.question)
        assert parsed is not None
        assert not {parsed[1]["thing"], parsed[1].get("other", "")} & set(toy.plan.colours)
        prompt = toy.prompt.__class__(toy.prompt.id, toy.prompt.text, (), (Check(check.dimension, check.question),))
        assert judge(prompt, world.render(sample_clip(toy, rng).scene)).answers[0].yes == 0
        asked[check.dimension] += 1
    assert len(asked) > 5
