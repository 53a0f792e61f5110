"""The oracle as a critic: its rewards are the truth, and what it cannot measure does not count."""

import numpy as np
import pytest

from reward.model import RewardModel
from reward.prompts import Check, Prompt
from reward.video import read_video, write_video
from toyworld.clips import as_asked, stage_clip
from toyworld.draw import draw
from toyworld.world import World


@pytest.fixture(scope="module")
def oracle():
    return RewardModel.from_pretrained("oracle")


@pytest.mark.parametrize("world", [World(), World(size=32, frames=9)])
def test_answers_are_the_truth_on_videos(oracle, world, tmp_path):
    for each in draw(12, seed=31):
        write_video(tmp_path / "clip.mp4", world.render(each.clip.scene), world.fps)
        clip = read_video(tmp_path / "clip.mp4", oracle.critic.sampling)
        assert len(clip.frames) == world.frames
        reward = oracle.score([clip], [each.toy_prompt.prompt])[0]
        assert [answer.p_yes == 1.0 for answer in reward.answers] == list(each.clip.checks)
        assert reward.order.best == each.clip.order


def test_a_faithful_clip_earns_everything(oracle):
    rng, world = np.random.default_rng(0), World(size=32, frames=9)
    each = next(draw(1, seed=8))
    clip = stage_clip(each.toy_prompt, as_asked(each.toy_prompt.plan), rng)
    frames = world.render(clip.scene)
    from reward.video import Clip

    seen = Clip(frames, world.seconds, np.arange(9), 9 / 8, 8.0, 9)
    assert oracle.score([seen], [each.toy_prompt.prompt])[0].scalar == 1.0


def test_what_cannot_be_measured_does_not_count(oracle):
    from reward.video import Clip

    world = World(size=32, frames=9)
    each = next(draw(1, seed=8))
    seen = Clip(world.render(each.clip.scene), world.seconds, np.arange(9), 9 / 8, 8.0, 9)
    foreign = Prompt("p", "A dog barks.", ("A dog barks.",), (Check("mechanics", "Does the dog bark?"),))
    reward = oracle.score([seen], [foreign])[0]
    assert np.isnan(reward.scalar)
    assert len(reward.unanswered) == 2


def test_the_detector_counts_the_things_that_are_there():
    from reward.video import Clip
    from rl.detecting import find_detector

    detector, world = find_detector("oracle"), World(size=32, frames=9)
    rng = np.random.default_rng(0)
    each = next(each for each in draw(40, seed=8) if len(each.toy_prompt.plan.parts) == 2)
    prompt, clip = each.toy_prompt.prompt, stage_clip(each.toy_prompt, as_asked(each.toy_prompt.plan), rng)
    frames = world.render(clip.scene)

    def share(pixels, asked=prompt):
        return detector(Clip(pixels, world.seconds, np.arange(9), 9 / 8, 8.0, 9), asked)

    assert share(frames) == 1.0
    assert share(np.full_like(frames, 200)) == 0.0
    assert np.isnan(share(frames, Prompt("p", "A dog barks.")))
    assert np.isnan(detector(Clip(frames[:2], world.seconds[:2], np.arange(2), 0.25, 8.0, 2), prompt))
