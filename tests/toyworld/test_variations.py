"""Clips to learn from: faithful or with a fault, as the oracle measures them too."""

from itertools import islice

import numpy as np
import pytest

from reward.answers import letters
from toyworld.clips import as_asked, stage_clip
from toyworld.grading import grade
from toyworld.oracle import judge
from toyworld.repertoire import KINDS, WORLD, repertoire
from toyworld.variations import WEIGHTS, examples, faulty, sample_clip


def test_faithful_clips_are_correct_in_every_dimension():
    rng = np.random.default_rng(0)
    for known in repertoire():
        clip = stage_clip(known.toy_prompt, as_asked(known.toy_prompt.plan), rng)
        made = grade(known.toy_prompt.prompt, WORLD.render(clip.scene), WORLD.seconds)
        assert made.object, known.id
        assert made.coherent, known.id
        assert made.correct, (known.id, made)


def test_clips_with_a_fault_are_coherent_and_wrong_where_their_truth_says_so():
    rng = np.random.default_rng(1)
    for known in repertoire():
        prompt = known.toy_prompt.prompt
        clip = stage_clip(known.toy_prompt, faulty(known.toy_prompt.plan, rng), rng)
        frames = WORLD.render(clip.scene)
        made = grade(prompt, frames, WORLD.seconds)
        assert made.object, known.id
        assert made.coherent, known.id
        assert not made.correct, known.id
        verdict = judge(prompt, frames, WORLD.seconds)
        assert tuple(answer.yes == 1 for answer in verdict.answers) == clip.checks
        assert verdict.order == clip.order


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_share_of_faithful_clips_is_as_asked(share):
    rng = np.random.default_rng(2)
    toy_prompt = repertoire()[-1].toy_prompt
    full = letters(len(toy_prompt.prompt.events))
    clips = [sample_clip(toy_prompt, rng, share) for _ in range(400)]
    right = np.mean([all(clip.checks) and clip.order == full for clip in clips])
    assert abs(right - share) < 0.08


def test_examples_draw_kinds_by_their_weight_and_the_same_seed_draws_the_same():
    drawn = list(islice(examples(np.random.default_rng(3), 0.5), 600))
    for kind in KINDS:
        assert abs(np.mean([each.known.kind == kind for each in drawn]) - WEIGHTS[kind]) < 0.06
    again = next(examples(np.random.default_rng(3), 0.5))
    assert again.known.id == drawn[0].known.id
    assert np.array_equal(again.frames, drawn[0].frames)
    assert again.frames.shape == (9, 32, 32, 3)
