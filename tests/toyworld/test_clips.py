from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest

from reward.answers import letters
from reward.dimensions import NAMES
from toyworld.clips import as_asked, sample_clip, stage_clip
from toyworld.oracle import judge
from toyworld.scene import CAMERAS
from toyworld.stories import sample_prompt
from toyworld.world import World


def prompt_where(condition, story=None, seed=0):
    for index in range(3000):
        toy = sample_prompt(np.random.default_rng([seed, index]), f"toy-{index:06d}", story=story)
        if condition(toy.plan):
            return toy
    raise AssertionError("no such prompt")


def has(*templates):
    return lambda plan: set(templates) <= {question.template for question in plan.questions}


def flipped(toy, **changes):
    """Return the templates whose truth differs from Yes, and the order, after checking that the oracle agrees."""
    deviations = replace(as_asked(toy.plan), **changes)
    clip = stage_clip(toy, deviations, np.random.default_rng(1))
    verdict = judge(toy.prompt, World().render(clip.scene))
    assert [answer.yes for answer in verdict.answers] == [float(truth) for truth in clip.checks], verdict
    assert verdict.order == clip.order
    wrong = {q.template for q, truth in zip(toy.plan.questions, clip.checks, strict=True) if not truth}
    return wrong, clip.order


def test_every_dimension_and_the_event_order_are_balanced():
    answers = defaultdict(list)
    for index in range(1500):
        rng = np.random.default_rng([8, index])
        toy = sample_prompt(rng, f"toy-{index:06d}")
        clip = sample_clip(toy, rng)
        answers["event_following"].append(clip.order == letters(len(toy.prompt.events)))
        for check, truth in zip(toy.prompt.checks, clip.checks, strict=True):
            answers[check.dimension].append(truth)
    assert set(answers) == set(NAMES)
    for dimension, truths in answers.items():
        assert 0.4 <= np.mean(truths) <= 0.6, (dimension, np.mean(truths), len(truths))


def test_a_faithful_clip_is_yes_everywhere_and_in_order():
    for index in range(60):
        rng = np.random.default_rng([9, index])
        toy = sample_prompt(rng, f"toy-{index:06d}")
        clip = sample_clip(toy, rng, faithful=True)
        assert all(clip.checks)
        assert clip.order == letters(len(toy.prompt.events))


@pytest.mark.parametrize("template", ["colour", "keeps_colour"])
def test_a_strange_colour_flips_the_colour_question_alone(template):
    toy = prompt_where(has(template))
    assert flipped(toy, strange_colour=True) == ({template}, letters(len(toy.plan.events)))


@pytest.mark.parametrize("template", ["beside", "half"])
def test_mirroring_flips_the_layout_question_alone(template):
    toy = prompt_where(has(template))
    assert flipped(toy, mirrored=True) == ({template}, letters(len(toy.plan.events)))


@pytest.mark.parametrize("camera", CAMERAS)
def test_another_camera_flips_the_camera_question_alone(camera):
    toy = prompt_where(lambda plan: plan.camera != camera and camera in plan.cameras)
    assert flipped(toy, camera=camera) == ({"camera"}, letters(len(toy.plan.events)))


@pytest.mark.parametrize("template", ["rests", "bounces", "flattens", "puddle", "stays_up", "pushed", "depth", "stays"])
def test_an_act_that_ends_otherwise_flips_its_own_question_alone(template):
    toy = prompt_where(lambda plan: sum(question.template == template for question in plan.questions) == 1)
    part = next(question.part for question in toy.plan.questions if question.template == template)
    played = tuple(index != part for index in range(len(toy.plan.parts)))
    assert flipped(toy, as_asked=played) == ({template}, letters(len(toy.plan.events)))


@pytest.mark.parametrize("opposite", [False, True])
@pytest.mark.parametrize("template", ["falls", "rises"])
def test_the_only_event_missing_or_reversed_flips_what_rests_on_it(template, opposite):
    toy = prompt_where(has(template))
    assert flipped(toy, starts=(np.nan,), opposite=opposite) == ({template}, "")


def test_swapped_and_missing_events_change_the_order_and_no_colour():
    toy = prompt_where(lambda plan: len(plan.events) == 3, story="trio")
    first, second, third = as_asked(toy.plan).starts
    assert flipped(toy, starts=(second, first, third))[1] == "BAC"
    assert flipped(toy, starts=(third, first, second))[1] == "BCA"
    assert flipped(toy, starts=(first, np.nan, third))[1] == "AC"
    assert "colour" not in flipped(toy, starts=(np.nan, first, third))[0]
