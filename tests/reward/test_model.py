"""The reward model's arithmetic, by hand."""

import math

import numpy as np
import pytest

from reward import FakeCritic, RewardModel
from reward.answers import Answer, Judgement, Order
from reward.calibration import Calibration, Isotonic, Platt
from reward.errors import InputError
from reward.prompts import Check, Prompt
from reward.video import Clip

PROMPT = Prompt(
    "p",
    "text",
    ("First.", "Second."),
    (
        Check("mechanics", "a?"),
        Check("mechanics", "b?"),
        Check("depth_3d", "c?"),
        Check("layout_2d", "d?", asked=False),
    ),
)
ORDER = Order(2, {"": 0.1, "A": 0.2, "B": 0.1, "AB": 0.5, "BA": 0.1})
JUDGEMENT = Judgement((Answer(0.9, 1.0), Answer(0.5, 1.0), Answer(0.2, 1.0)), ORDER)
EXPECTED_LCS = 0.2 + 0.1 + 2 * 0.5 + 0.1


def make_clip(frames):
    times = np.arange(len(frames)) / 8
    return Clip(frames, times, np.arange(len(frames)), len(frames) / 8, 8.0, len(frames))


def moving():
    return make_clip(np.random.default_rng(0).integers(0, 256, (8, 48, 64, 3), dtype=np.uint8))


def test_scalar_is_videoverse_total():
    reward = RewardModel(FakeCritic()).reward(PROMPT, JUDGEMENT)
    assert reward.dimensions["event_following"] == pytest.approx(EXPECTED_LCS / 2)
    assert reward.dimensions["mechanics"] == pytest.approx(0.7)
    assert reward.dimensions["depth_3d"] == pytest.approx(0.2)
    assert math.isnan(reward.dimensions["layout_2d"])
    assert reward.scalar == pytest.approx((EXPECTED_LCS + 0.9 + 0.5 + 0.2) / 5)


def test_std_is_that_of_the_true_total():
    """Against a simulation that draws every answer from its probability."""
    reward = RewardModel(FakeCritic()).reward(PROMPT, JUDGEMENT)
    rng = np.random.default_rng(0)
    checks = (rng.random((200_000, 3)) < [0.9, 0.5, 0.2]).sum(axis=1)
    lcs = rng.choice([0, 1, 1, 2, 1], p=list(ORDER.probabilities.values()), size=200_000)
    assert reward.std == pytest.approx(((checks + lcs) / 5).std(), rel=0.01)
    assert reward.stds["mechanics"] == pytest.approx(math.sqrt(0.09 + 0.25) / 2)
    assert reward.lower_bound(2) == pytest.approx(reward.scalar - 2 * reward.std)


def test_uncertain_calibration_moves_answers_together_as_in_a_simulation():
    """What parameters (a, b) in common add: the variance of the sum of p less the sum of their variances."""
    covariance = ((0.0036, 0.0008), (0.0008, 0.0064))
    calibration = Calibration(maps={"pooled": Platt(a=1.0, b=0.0, covariance=covariance)})
    checks_only = Judgement(JUDGEMENT.answers)
    reward = RewardModel(FakeCritic(), calibration).reward(PROMPT, checks_only)
    alone = RewardModel(FakeCritic()).reward(PROMPT, checks_only)

    a, b = np.random.default_rng(1).multivariate_normal((1.0, 0.0), covariance, size=1_000_000).T
    logits = np.log(np.array([0.9, 0.5, 0.2]) / np.array([0.1, 0.5, 0.8]))
    p = 1 / (1 + np.exp(-(np.outer(a, logits) + b[:, None])))
    together = p.sum(axis=1).var() - p.var(axis=0).sum()
    assert (reward.std * 3) ** 2 - (alone.std * 3) ** 2 == pytest.approx(together, rel=0.03)


def test_weights_by_dimension():
    reward = RewardModel(FakeCritic(), weights={"mechanics": 2, "event_following": 0}).reward(PROMPT, JUDGEMENT)
    assert reward.scalar == pytest.approx((2 * 1.4 + 0.2) / 5)


@pytest.mark.parametrize(
    ("weights", "message"),
    [({"mechanics": -1}, "mechanics"), ({"taste": 1}, "taste"), (dict.fromkeys(["mechanics"], math.nan), "nan")],
)
def test_bad_weights_are_refused(weights, message):
    with pytest.raises(InputError, match=message):
        RewardModel(FakeCritic(), weights=weights)


def test_all_weights_zero_are_refused():
    from reward.dimensions import NAMES

    with pytest.raises(InputError, match="zero"):
        RewardModel(FakeCritic(), weights=dict.fromkeys(NAMES, 0))


def test_low_answer_mass_is_masked_with_a_reason_and_never_a_no():
    answers = (Answer(0.9, 0.01), *JUDGEMENT.answers[1:])
    reward = RewardModel(FakeCritic(), min_answer_mass=0.1).reward(PROMPT, Judgement(answers, ORDER))
    assert reward.dimensions["mechanics"] == pytest.approx(0.5)
    assert reward.scalar == pytest.approx((EXPECTED_LCS + 0.5 + 0.2) / 4)
    assert reward.unanswered == ("check 1 (mechanics): answer mass 0.01 is below 0.1",)


def test_nothing_answered_is_nan():
    answers = tuple(Answer(0.9, 0.0) for _ in range(3))
    reward = RewardModel(FakeCritic(), min_answer_mass=0.1).reward(PROMPT, Judgement(answers))
    assert math.isnan(reward.scalar)
    assert math.isnan(reward.std)
    assert all(math.isnan(value) for value in reward.dimensions.values())


def test_frozen_and_black_clips_are_not_paid_for():
    model = RewardModel(FakeCritic(p_yes=lambda clip, question: 0.9))
    frozen = make_clip(np.repeat(moving().frames[:1], 8, axis=0))
    black = make_clip(np.random.default_rng(0).integers(0, 4, (8, 48, 64, 3), dtype=np.uint8))
    rewards = model.score([moving(), frozen, black], [PROMPT] * 3)
    assert [reward.scalar > 0.5 for reward in rewards] == [True, False, False]
    assert rewards[1].scalar == rewards[2].scalar == 0
    assert rewards[1].ungated == pytest.approx(rewards[0].ungated)
    assert rewards[1].gates.closed == ("frozen",)
    assert "black" in rewards[2].gates.closed
    assert RewardModel(model.critic, gates=False).score([frozen], [PROMPT])[0].scalar > 0.5


def test_a_small_moving_thing_opens_the_gate():
    frames = np.full((8, 480, 640, 3), 90, np.uint8)
    for t in range(8):
        frames[t, 200:216, 100 + 8 * t : 116 + 8 * t] = 250
    assert RewardModel(FakeCritic()).score([make_clip(frames)], [PROMPT])[0].gates.closed == ()


def test_platt_and_temperature_by_hand():
    assert Platt(a=1.0, b=0.0).apply(0.3) == pytest.approx(0.3)
    assert Platt(a=2.0, b=0.0).apply(0.8) == pytest.approx(16 / 17)
    assert Platt(a=1.0, b=math.log(3)).apply(0.5) == pytest.approx(0.75)
    assert Platt(a=5.0).apply(0.0) == pytest.approx(0, abs=1e-30)
    step = 1e-6
    numeric = (Platt(a=1.3 + step, b=0.2).apply(0.7) - Platt(a=1.3, b=0.2).apply(0.7)) / step
    assert Platt(a=1.3, b=0.2).gradient(0.7)[0] == pytest.approx(numeric, rel=1e-4)


def test_isotonic_by_hand():
    step = Isotonic(x=(0.2, 0.6), y=(0.1, 0.9))
    assert [step.apply(p) for p in (0.0, 0.2, 0.4, 0.6, 1.0)] == pytest.approx([0.1, 0.1, 0.5, 0.9, 0.9])


def test_own_map_wins_over_the_pooled_one_and_orders_are_sharpened():
    maps = {"pooled": Platt(b=math.log(3)), "depth_3d": Platt(), "event_following": Platt(a=2.0)}
    reward = RewardModel(FakeCritic(), Calibration(maps=maps)).reward(PROMPT, JUDGEMENT)
    assert reward.dimensions["depth_3d"] == pytest.approx(0.2)
    assert reward.answers[1].p_yes == pytest.approx(0.75)
    powers = {"": 0.01, "A": 0.04, "B": 0.01, "AB": 0.25, "BA": 0.01}
    assert reward.order.probabilities["AB"] == pytest.approx(0.25 / sum(powers.values()))


def test_rewards_of_a_batch_are_those_of_single_clips():
    model = RewardModel(FakeCritic())
    clips = [moving(), make_clip(255 - moving().frames)]
    for a, b in zip(model.score(clips, [PROMPT, PROMPT]), (model.score([c], [PROMPT])[0] for c in clips), strict=True):
        assert (a.scalar, a.std, a.answers) == (b.scalar, b.std, b.answers)
