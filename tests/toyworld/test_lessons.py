"""What is said of a clip is what the clip shows."""

import dataclasses
import itertools
import math
import re

import numpy as np
import pytest

from reward.prompts import Check, Prompt
from toyworld.cells import CELL_WORDS, COLUMNS, HISTORY, MOMENTS, NUMBER_WORDS, cell_history, cell_words
from toyworld.clips import as_asked, stage_clip
from toyworld.curriculum import Lessons
from toyworld.draw import draw
from toyworld.further_checks import layout_checks, near_misses, thing_checks
from toyworld.lessons import (
    FATES,
    absent_lesson,
    colours,
    description,
    fate_lessons,
    hard_lessons,
    lessons,
    motion,
    stay,
    strange_lessons,
    timing_lessons,
)
from toyworld.measure import measure
from toyworld.oracle import judge, judge_facts, look
from toyworld.pretrain import Recipe, build
from toyworld.questions import CHECKS
from toyworld.stories import sample_prompt
from toyworld.world import World


@pytest.fixture(scope="module")
def clips():
    return [(each.toy_prompt, each.clip) for each in draw(60, seed=5)]


def test_colours_and_motions_are_those_that_the_oracle_measures(clips):
    """Things that move only sideways or up and down, in clips whose camera stays still."""
    world, seen = World(), 0
    for _, clip in clips:
        if clip.scene.camera != "stay still":
            continue
        measured = {each.colour: each for each in look(measure(world.render(clip.scene), world.seconds))}
        for actor in clip.scene.actors:
            said = set(motion(actor).split())
            if (
                colours(actor) != actor.colour
                or stay(actor) != "all the time"
                or not said <= {"left", "right", "up", "down"}
            ):
                continue
            assert set(measured[actor.colour].motion) == said
            seen += 1
    assert seen >= 5


def test_every_check_of_a_faithful_clip_has_its_latent_in_the_lessons(clips):
    rng = np.random.default_rng(0)
    for toy, _ in clips:
        clip = stage_clip(toy, as_asked(toy.plan), rng)
        answers = {lesson.question: lesson.answer for lesson in lessons(toy, clip, rng)}
        assert answers["What does the camera do?"] == toy.plan.camera
        assert answers["What happens first?"] == toy.prompt.events[0]
        assert answers["What happens last?"] == toy.prompt.events[-1]
        text = description(toy, clip)
        assert all(event in text for event in toy.prompt.events)
        for noun, colour in toy.plan.colours.items():
            assert f"The {noun} is {colour}" in text or noun == "lamp"


def test_hard_lessons_and_layout_checks_are_what_the_oracle_measures(clips):
    """Layout questions are answered by the oracle from pixels; every kind of hard lesson occurs."""
    world, rng, kinds, asked = World(), np.random.default_rng(2), set(), 0
    for toy, clip in clips:
        kinds |= {lesson.question.split()[0] + lesson.question.split()[-1] for lesson in hard_lessons(clip, rng)}
        checks = layout_checks(clip, rng)
        prompt = Prompt("p", toy.prompt.text, (), tuple(check for check, _ in checks))
        verdict = judge(prompt, world.render(clip.scene), world.seconds)
        for (_, yes), answer in zip(checks, verdict.answers, strict=True):
            if not np.isnan(answer.yes):
                assert answer.yes == yes
                asked += 1
    assert asked > 30
    assert len(kinds) >= 6


def test_left_to_right_is_the_order_in_the_first_frame(clips):
    rng = np.random.default_rng(3)
    world = World()
    for _, clip in clips[:30]:
        said = {lesson.question: lesson.answer for lesson in hard_lessons(clip, rng)}
        listed = said.get("Which things are there at the beginning, from left to right?")
        if listed is None:
            continue
        layers = world.layers(clip.scene)
        columns = np.arange(world.size)
        centres = [(v[0].sum(axis=0) * columns).sum() / v[0].sum() for v in layers.visible if v[0].sum() > 0]
        if len(centres) == len(clip.scene.actors):
            nouns = [actor.noun for actor in clip.scene.actors]
            assert listed == " ".join(noun for _, noun in sorted(zip(centres, nouns, strict=True)))


def test_cells_show_a_thing_where_it_is(clips):
    world = World()
    frames = list(range(0, 16, 2))
    for _, clip in clips[:20]:
        layers = world.layers(clip.scene)
        words = cell_words(world, clip, layers, frames, 4)
        assert words.shape == (8, 4, 4, len(CELL_WORDS))
        for actor, visible in zip(clip.scene.actors, layers.visible, strict=True):
            shown = words[..., CELL_WORDS.index(actor.noun.split()[0])]
            share = visible[frames].reshape(8, 4, 16, 4, 16).mean(axis=(2, 4))
            np.testing.assert_array_equal(shown, share > 0.1)


def test_columns_and_sides_are_named_where_things_are(clips):
    world, frames = World(), list(range(16))
    covered = set()
    for _, clip in clips:
        layers = world.layers(clip.scene)
        words = cell_words(world, clip, layers, frames, 4)
        for column, number in enumerate(NUMBER_WORDS[:COLUMNS]):
            shown = words[..., CELL_WORDS.index(number)]
            assert not np.delete(shown, column, axis=2).any()
        covered |= {side for side in ("front", "behind") if words[..., CELL_WORDS.index(side)].any()}
        passer = [actor for actor in clip.scene.actors if actor.layer and actor.moves]
        if not passer:
            assert not words[..., [CELL_WORDS.index(side) for side in ("front", "behind")]].any()
    assert covered == {"front", "behind"}


def test_histories_tell_where_things_began_when_they_act_and_what_they_became(clips):
    """Against the scene itself; a small clip tells the same story."""
    for world in (World(), World(size=32, frames=9)):
        frames, found = list(range(world.frames)), set()
        for _, clip in clips:
            layers = world.layers(clip.scene)
            told = cell_history(world, clip, layers, frames, 4)
            assert told.shape == (world.frames, 4, 4, len(HISTORY))
            latents = world.latents(clip.scene, layers)
            began = {int(np.clip(x * MOMENTS, 0, MOMENTS - 1)) for x in latents.x[:, 0]}
            assert {i for i in range(MOMENTS) if told[..., i].any()} <= began
            starts = {int(m.start * MOMENTS) for a in clip.scene.actors for m in a.moves if m.start < 1}
            starts |= {int(a.lights * MOMENTS) for a in clip.scene.actors if 0 <= a.lights < 1}
            assert {i for i in range(MOMENTS) if told[..., MOMENTS + i].any()} <= starts
            changed = told[..., HISTORY.index("changed colour")].any(axis=(1, 2))
            times = [a.recolours[0] for a in clip.scene.actors if a.recolours]
            times += [a.lights for a in clip.scene.actors if np.isfinite(a.lights)]
            if changed.any():
                assert min(times) <= world.story_times[changed.argmax()]
            assert changed.any() <= bool(times)
            gone = told[..., HISTORY.index("gone")].any()
            assert gone <= any(np.isfinite(actor.vanishes) for actor in clip.scene.actors)
            found |= {name for i, name in enumerate(HISTORY) if told[..., i].any()}
        assert found >= {
            "changed colour",
            "gone",
            "passed in front",
            "passed behind",
            "began its act in eighth 0 of the clip",
            "acted last by going left",
        }


def test_timing_lessons_name_the_eighth_in_which_an_event_begins(clips):
    for toy, clip in clips:
        told = timing_lessons(toy, clip)
        assert len(told) == len(toy.prompt.events)
        for lesson, start, text in zip(told, clip.scene.event_starts, toy.prompt.events, strict=True):
            assert text in lesson.question
            known = "never" if np.isnan(start) else NUMBER_WORDS[int(start * 8)]
            assert lesson.answer == known


def test_examples_hold_questions_of_every_kind_and_are_the_same_for_a_seed():
    _, tokenizer, front_end, tokens = build(Recipe())
    sampling = Recipe().sampling
    drawn = [
        Lessons(front_end, tokens, stage, seed=3, sampling=sampling, augmented=0.5).example(np.random.default_rng(1))
        for stage in ("align", "both")
    ]
    assert drawn[0].asked == ()
    texts = [tokenizer.decode(list(asked.suffix.ids)) for asked in drawn[1].asked]
    assert any("Answer with Yes or No" in text for text in texts)
    assert sum("in which order" in text for text in texts) == 2
    assert any("few words" in text for text in texts)
    same = Lessons(front_end, tokens, "both", seed=3, sampling=sampling, augmented=0.5)
    again = same.example(np.random.default_rng(1))
    assert again.asked == drawn[1].asked
    assert again.prefix.patches.equal(drawn[1].prefix.patches)


def test_nothing_happens_in_a_frozen_clip(monkeypatch):
    """Its questions are answered by the oracle, its events by None, and it has no history to tell."""
    _, tokenizer, front_end, tokens = build(Recipe())
    monkeypatch.setattr("toyworld.curriculum.FROZEN", 1.0)
    drawn = Lessons(front_end, tokens, "both", seed=3, sampling=Recipe().sampling, augmented=0.0)
    rng = np.random.default_rng(1)
    answers = []
    for _ in range(12):
        example = drawn.example(rng)
        assert example.history.isnan().all()
        assert example.camera == 0
        for asked in example.asked:
            text = tokenizer.decode(list(asked.suffix.ids))
            if "bounce" in text or "push" in text or "float up" in text:
                answers.append(asked.targets[0][0][1])
            if "in which order" in text:
                assert tokenizer.decode([asked.targets[0][0][0]]) == "None"
    assert answers
    assert not any(answers)


def test_a_few_steps_of_pretraining_name_the_cells_better(tmp_path, capsys):
    from toyworld.pretrain import Options, main

    main(Options(align=12, dense=2, both=2, batch=4, out=tmp_path / "base"))
    assert (tmp_path / "base" / "model.safetensors").exists()
    from toyworld.pretrain import pretrain

    losses = []
    pretrain(
        Recipe(align=100, dense=1, both=1, batch=4), lambda step, stage, parts, *_: losses.append((stage, dict(parts)))
    )
    cells = [parts["cells"] for stage, parts in losses if stage == "align"]
    assert np.mean(cells[-5:]) < 0.75 * np.mean(cells[:3])
    assert losses[-1][0] == "both"
    assert np.isfinite(losses[-1][1]["checks"])


def test_near_misses_are_no_where_the_thing_is_missing_and_the_other_way_in_depth(clips):
    """Answered by the oracle: of two depths at most one is right."""
    world, rng, absent, depths = World(), np.random.default_rng(3), 0, 0
    for toy, clip in clips[:30]:
        checks = near_misses(toy, rng)
        asked = Prompt("p", toy.prompt.text, (), (*toy.prompt.checks, *checks))
        answers = judge(asked, world.render(clip.scene), world.seconds).answers
        own = {check.question: answer.yes for check, answer in zip(asked.checks, answers, strict=True)}
        for check in checks:
            if check.dimension == "depth_3d" and "the ball" in check.question and "the pillar" in check.question:
                other = {"in front of": "behind", "behind": "in front of"}
                twin = next(check.question.replace(a, b) for a, b in other.items() if a in check.question)
                assert own[check.question] + own[twin] <= 1
                depths += 1
            else:
                assert own[check.question] == 0
                absent += 1
    assert absent >= 10
    assert depths >= 1


def test_a_lesson_about_an_absent_thing_names_none_of_the_prompt(clips):
    rng = np.random.default_rng(4)
    for toy, _ in clips:
        lesson = absent_lesson(toy, rng)
        assert lesson.answer == "it is not there"
        assert not any(re.search(rf"\b{noun}\b", lesson.question) for noun in toy.plan.colours)


def test_further_questions_are_ones_that_the_oracle_answers_both_ways(clips):
    world, rng, said = World(), np.random.default_rng(6), {}
    for toy, clip in clips[:40]:
        checks = tuple(thing_checks(clip, rng))
        answers = judge(Prompt("p", toy.prompt.text, (), checks), world.render(clip.scene), world.seconds).answers
        for check, answer in zip(checks, answers, strict=True):
            said.setdefault(check.dimension, set()).add(answer.yes)
    assert all({0.0, 1.0} <= said[name] for name in ("mechanics", "common_sense", "natural_constraints"))


def test_what_changes_gets_its_open_question_and_nothing_else_does(clips):
    changing = [clip for _, clip in clips if any(actor.recolours for actor in clip.scene.actors)]
    assert changing
    for _, clip in clips:
        told = {lesson.question: lesson.answer for lesson in strange_lessons(clip)}
        for actor in clip.scene.actors:
            colour = told.get(f"Does the {actor.noun} keep the same colour all the time or change it?")
            assert colour == (colours(actor) if actor.recolours else None)
            stays = told.get(f"Does the {actor.noun} stay in the picture all the time or vanish?")
            assert stays == ("it vanishes" if np.isfinite(actor.vanishes) else None)


def test_the_history_of_a_bounce_says_that_it_came_up_again():
    """From when the ball turns: the first move up after one down; before that the cells say that it went down."""
    world, rng = World(), np.random.default_rng(8)
    prompts = (sample_prompt(rng, f"p{i}", story="solo") for i in range(100))
    toy = next(toy for toy in prompts if toy.plan.parts[0].act == "bounce" and toy.plan.camera == "stay still")
    clip = stage_clip(toy, as_asked(toy.plan), rng)
    moves = clip.scene.actors[0].moves
    turn = next(after.start for before, after in itertools.pairwise(moves) if after.y < before.y)
    history = cell_history(world, clip, world.layers(clip.scene), list(range(world.frames)), 4)
    again = history[..., HISTORY.index("came up again")].max(axis=(1, 2))
    assert list(again == 1) == list(world.story_times >= turn)
    assert history[0, ..., HISTORY.index("went down")].max() == 0
    assert history[-1, ..., HISTORY.index("went down")].max() == 1


def test_what_becomes_of_a_thing_agrees_with_the_oracle(clips):
    """The open question's answer implies the answers to the yes/no ones, which the oracle measures."""
    world = World()
    wanted = {
        "falls": {"come to rest on the floor", "bounce back up", "become flat", "fall through it"},
        "rests": {"come to rest on the floor", "bounce back up", "become flat"},
        "bounces": {"bounce back up"},
        "flattens": {"become flat"},
        "rises": {"stay up", "come down again"},
        "stays_up": {"stay up"},
        "puddle": {"leave a puddle"},
    }
    about = {"balloon": ("rises", "stays_up"), "ice cube": ("puddle",)}
    said = set()
    for toy, clip in clips:
        facts = measure(world.layers(clip.scene).frames, world.seconds)
        things = [actor.noun for actor in clip.scene.actors if actor.noun in FATES and np.isinf(actor.vanishes)]
        for noun, lesson in zip(things, fate_lessons(clip), strict=True):
            assert lesson.question.split(" the ")[1].startswith(noun)
            said.add(lesson.answer)
            names = about.get(noun, ("falls", "rests", "bounces", "flattens"))
            checks = tuple(Check(CHECKS[n].dimension, CHECKS[n].question.format(thing=noun)) for n in names)
            for name, answer in zip(
                names, judge_facts(Prompt("p", toy.prompt.text, (), checks), facts).answers, strict=True
            ):
                if not math.isnan(answer.yes):
                    assert bool(answer.yes) == (lesson.answer in wanted[name]), (name, lesson, answer)
    assert said >= {"come to rest on the floor", "fall through it", "stay up", "come down again", "not at all"}


def test_the_history_of_a_fall_says_when_the_thing_came_to_rest():
    """From its landing on; and never of one that sank through the floor instead."""
    world, rng = World(), np.random.default_rng(8)
    prompts = (sample_prompt(rng, f"p{i}", story="solo") for i in range(100))
    toy = next(toy for toy in prompts if toy.plan.parts[0].act == "drop" and toy.plan.camera == "stay still")
    asked = as_asked(toy.plan)
    fallen, sunk = (stage_clip(toy, dataclasses.replace(asked, as_asked=(right,)), rng) for right in (True, False))
    landing = fallen.scene.actors[0].moves[-1].end
    at_rest = [
        cell_history(world, clip, world.layers(clip.scene), list(range(world.frames)), 4)[
            ..., HISTORY.index("came to rest")
        ].max(axis=(1, 2))
        for clip in (fallen, sunk)
    ]
    assert list(at_rest[0] == 1) == list(world.story_times >= landing)
    assert not at_rest[1].any()
