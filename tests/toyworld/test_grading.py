"""Grades: hand-made clips that lack a thing, fall apart, or show something else than asked."""

from dataclasses import replace

import numpy as np
import pytest

from reward.errors import InputError
from reward.prompts import Check, Prompt
from toyworld.clips import as_asked, stage_clip
from toyworld.grading import grade
from toyworld.repertoire import WORLD, find
from toyworld.scene import Scene


def scene_of(prompt_id):
    known = find(prompt_id)
    return known.toy_prompt, stage_clip(
        known.toy_prompt, as_asked(known.toy_prompt.plan), np.random.default_rng(0)
    ).scene


def graded(toy_prompt, scene):
    return grade(toy_prompt.prompt, WORLD.render(scene), WORLD.seconds)


def changed(scene, actor=0, **changes):
    actors = list(scene.actors)
    actors[actor] = replace(actors[actor], **changes)
    return replace(scene, actors=tuple(actors))


def test_a_faithful_clip_is_right_in_all():
    made = graded(*scene_of("duo-red-blue-left-box_first"))
    assert (made.object, made.coherent, made.correct) == (True, True, True)
    assert made.dimensions == {
        "mechanics": 1.0,
        "natural_constraints": 1.0,
        "layout_2d": 1.0,
        "attribution_correctness": 1.0,
        "event_following": 1.0,
    }


def test_a_missing_thing_is_no_object():
    toy_prompt, scene = scene_of("duo-red-blue-left-box_first")
    made = graded(toy_prompt, Scene(scene.actors[:1], scene.camera))
    assert (made.object, made.coherent, made.correct) == (False, False, False)
    assert made.dimensions["mechanics"] == 1
    assert made.dimensions["natural_constraints"] == 0


def test_a_third_thing_is_a_ghost():
    toy_prompt, scene = scene_of("duo-red-blue-left-box_first")
    ghost = replace(scene.actors[0], colour="green", x=0.5, moves=())
    made = graded(toy_prompt, replace(scene, actors=(*scene.actors, ghost)))
    assert (made.object, made.coherent, made.correct) == (True, False, True)


def test_two_things_of_one_colour_are_a_smear():
    toy_prompt, scene = scene_of("move-red-right")
    copy = replace(scene.actors[0], y=0.1, moves=())
    assert not graded(toy_prompt, replace(scene, actors=(*scene.actors, copy))).coherent


def test_a_thing_that_changes_colour_is_incoherent():
    toy_prompt, scene = scene_of("move-red-right")
    made = graded(toy_prompt, changed(scene, recolours=(0.6, "green")))
    assert made.object
    assert not made.coherent


def test_another_colour_throughout_is_coherent_and_wrong():
    toy_prompt, scene = scene_of("move-red-right")
    made = graded(toy_prompt, changed(scene, colour="green"))
    assert (made.object, made.coherent, made.correct) == (True, True, False)
    assert made.dimensions == {"attribution_correctness": 0.0, "event_following": 1.0}


def test_a_thing_that_comes_and_goes_is_incoherent():
    toy_prompt, scene = scene_of("move-red-right")
    frames = WORLD.render(scene)
    frames[4] = WORLD.render(changed(scene, vanishes=-1.0))[4]
    made = grade(toy_prompt.prompt, frames, WORLD.seconds)
    assert made.object
    assert not made.coherent


def test_a_thing_that_vanishes_is_incoherent_but_one_that_sinks_through_the_floor_is_not():
    toy_prompt, scene = scene_of("rise-red-left")
    assert not graded(toy_prompt, changed(scene, vanishes=0.7)).coherent
    known = find("drop-red-left").toy_prompt
    sinking = replace(as_asked(known.plan), as_asked=(False,))
    made = graded(known, stage_clip(known, sinking, np.random.default_rng(0)).scene)
    assert (made.object, made.coherent, made.correct) == (True, True, False)


def test_a_thing_that_jumps_is_incoherent():
    toy_prompt, scene = scene_of("drop-red-left")
    frames = WORLD.render(scene)
    frames[5:] = frames[5:, :, ::-1]
    made = grade(toy_prompt.prompt, frames, WORLD.seconds)
    assert made.object
    assert not made.coherent


def test_the_other_order_is_coherent_and_wrong_in_event_following_alone():
    toy_prompt, _ = scene_of("duo-red-blue-left-box_first")
    _, scene = scene_of("duo-red-blue-left-balloon_first")
    made = graded(toy_prompt, scene)
    assert (made.object, made.coherent, made.correct) == (True, True, False)
    assert [name for name, yes in made.dimensions.items() if yes < 1] == ["event_following"]


def test_a_dimension_is_the_share_of_its_checks_and_what_cannot_be_measured_is_no():
    known = find("drop-red-left").toy_prompt.prompt
    strange = Check("attribution_correctness", "Is the box made of wood?")
    prompt = Prompt("p", known.text, known.events, (*known.checks, strange))
    _, scene = scene_of("drop-red-left")
    made = grade(prompt, WORLD.render(scene), WORLD.seconds)
    assert made.dimensions["attribution_correctness"] == 0.5
    assert not made.correct


def test_an_empty_picture_has_no_object_and_a_short_clip_is_refused():
    known = find("drop-red-left").toy_prompt
    grey = np.full((9, 32, 32, 3), 180, np.uint8)
    made = grade(known.prompt, grey, WORLD.seconds)
    assert (made.object, made.coherent, made.correct) == (False, False, False)
    with pytest.raises(InputError, match="a clip needs"):
        grade(known.prompt, grey[:3])
