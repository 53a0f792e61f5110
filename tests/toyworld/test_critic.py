"""The critic that ships: right about clips that nobody trained on, from files, in both sizes, and the same twice."""

import dataclasses

import numpy as np
import pytest

from reward.model import RewardModel
from reward.prompts import Prompt
from reward.video import read_video, write_video
from toyworld.critic import FOLDER
from toyworld.draw import draw
from toyworld.stories import absent_check
from toyworld.world import World


@pytest.fixture(scope="module")
def critic():
    return RewardModel.from_pretrained("toyworld", device="cpu")


@pytest.fixture(scope="module")
def judged(critic, tmp_path_factory):
    """Sixty fresh clips of each size as mp4, with the critic's rewards."""
    folder, found = tmp_path_factory.mktemp("clips"), []
    for world in (World(), World(size=32, frames=9)):
        for each in draw(60, seed=910):
            write_video(folder / "clip.mp4", world.render(each.clip.scene), world.fps)
            found.append((each, read_video(folder / "clip.mp4", critic.critic.sampling)))
    rewards = critic.score([clip for _, clip in found], [each.toy_prompt.prompt for each, _ in found])
    return [(each, clip, reward) for (each, clip), reward in zip(found, rewards, strict=True)]


def test_it_is_small():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 8_000_000


@pytest.mark.parametrize("size", [64, 32])
def test_checks_and_orders_are_right(judged, size):
    checks, orders = [], []
    for each, clip, reward in judged:
        if clip.frames.shape[1] == size:
            checks += [
                (answer.p_yes > 0.5) == yes for answer, yes in zip(reward.answers, each.clip.checks, strict=True)
            ]
            orders.append(reward.order.best == each.clip.order)
    assert np.mean(checks) >= 0.95
    assert np.mean(orders) >= 0.87


def test_its_reward_orders_clips_as_the_truth_does(judged):
    def earned(each):
        return sum(each.clip.checks) / len(each.clip.checks)

    told = np.array([reward.ungated for _, _, reward in judged])
    assert np.corrcoef(told, [earned(each) for each, _, _ in judged])[0, 1] > 0.8


def test_it_says_no_to_what_is_not_there(critic, judged):
    rng = np.random.default_rng(4)
    some = judged[:40]
    prompts = [
        Prompt("p", each.toy_prompt.prompt.text, (), tuple(absent_check(rng, each.toy_prompt) for _ in range(2)))
        for each, _, _ in some
    ]
    rewards = critic.score([clip for _, clip, _ in some], prompts)
    assert np.mean([answer.p_yes > 0.5 for reward in rewards for answer in reward.answers]) <= 0.05


def test_the_same_clip_gets_the_same_answers_and_a_frozen_one_no_pay(critic, judged):
    each, clip, reward = judged[0]
    first, second = (critic.score([clip], [each.toy_prompt.prompt])[0].answers for _ in range(2))
    assert first == second
    assert [answer.p_yes for answer in first] == pytest.approx([answer.p_yes for answer in reward.answers], abs=1e-4)
    frozen = dataclasses.replace(clip, frames=np.repeat(clip.frames[:1], len(clip.frames), axis=0))
    assert critic.score([frozen], [each.toy_prompt.prompt])[0].scalar == 0.0
