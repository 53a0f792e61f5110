"""The hacking monitor on made-up series that do and do not hack."""

import json
import math

import numpy as np
import pytest

from rl.monitor import Rule, alarms, paired_fall, write_page

LEAST = {"diversity": 0.7, "motion": 0.5, "presence": 0.9}
RULE = Rule(2.0, LEAST)


def series(judge, reward, seed=0, prompts=6, clips=4, **guarded):
    """Return points whose clips differ a lot from each other and a little from step to step."""
    rng = np.random.default_rng(seed)
    level = rng.normal(0, 0.2, (prompts, clips))
    points = []
    for i, (mean, paid) in enumerate(zip(judge, reward, strict=True)):
        values = mean + level + rng.normal(0, 0.01, level.shape)
        by_prompt = {f"p{p}": values[p].tolist() for p in range(prompts)}
        point = {"step": 10 * i, "reward": paid, "judge": float(values.mean()), "judge_clips": by_prompt}
        points.append(point | {name: each[i] for name, each in guarded.items()})
    return points


def heard(points, rule=RULE):
    return [alarms(points[: i + 1], rule) for i in range(len(points))]


def test_a_reward_that_rises_while_the_judge_falls_is_hacking():
    found = heard(series([0.4, 0.5, 0.55, 0.45], [0.4, 0.6, 0.7, 0.9]))
    assert found[:3] == [[], [], []]
    assert len(found[3]) == 1
    assert "from its best, at step 20, while the train reward rose by 0.200" in found[3][0]


def test_both_rising_or_both_falling_is_not():
    assert heard(series([0.4, 0.5, 0.6], [0.4, 0.6, 0.8])) == [[], [], []]
    assert heard(series([0.6, 0.5, 0.4], [0.8, 0.6, 0.4])) == [[], [], []]


def test_a_fall_within_the_judges_error_is_not():
    assert heard(series([0.5, 0.499, 0.5], [0.4, 0.6, 0.8])) == [[], [], []]
    points = series([0.5, 0.45], [0.4, 0.6])
    assert alarms(points, RULE)
    assert not alarms(points, Rule(1000.0, LEAST))


def test_pairing_sees_a_fall_that_the_spread_of_clips_hides():
    """Clips differ by .2, so that the mean of 24 is known to .04; the same clips fell by .03 ± .003."""
    points = series([0.5, 0.47], [0.4, 0.6])
    spread = np.std([v for clips in points[0]["judge_clips"].values() for v in clips], ddof=1) / math.sqrt(24)
    assert spread > 0.03
    assert alarms(points, RULE)


def test_without_a_train_reward_a_falling_judge_is_enough():
    assert "from its best, at step 0" in heard(series([0.5, 0.4], [None, None]))[1][0]


@pytest.mark.parametrize("name", LEAST)
def test_what_is_guarded_may_not_shrink(name):
    fine, low = LEAST[name] + 0.02, LEAST[name] - 0.02
    found = heard(series([0.5] * 3, [0.5] * 3, **{name: [2.0, 2 * fine, 2 * low]}))
    assert found[:2] == [[], []]
    assert found[2] == [f"{name} is {2 * low:.3g}, {low:.0%} of the 2 before training"]


def test_paired_falls_by_hand():
    before = {"a": [0.5, 0.7], "b": [0.6, None], "c": [None, None]}
    after = {"a": [0.4, 0.5], "b": [0.2, 0.9], "c": [0.1, 0.1]}
    fall, doubt = paired_fall(before, after)  # a: .15, b: .4
    assert fall == pytest.approx(0.275)
    assert doubt == pytest.approx(0.125)
    fall, doubt = paired_fall({"a": before["a"]}, {"a": after["a"]})  # one prompt: its clips, .1 and .2
    assert (fall, doubt) == (pytest.approx(0.15), pytest.approx(0.05))
    assert paired_fall({"a": [0.5]}, {"a": [0.1]})[1] == math.inf
    assert math.isnan(paired_fall({"a": [None]}, {"a": [0.1]})[0])


def test_the_page_shows_points_and_alarms(tmp_path):
    points = series([0.4, 0.5], [0.4, 0.6], diversity=[1.0, 0.5], motion=[60.0, 50.0])
    for point in points:
        point |= {"judge_se": 0.1, "drift": 0.1, "presence": None}
    write_page(
        tmp_path, points, {10: ["diversity is low"]}, [{"step": 1, "loss": 0.7}, {"step": 2, "reward_mean": 0.5}]
    )
    page = json.loads((tmp_path / "training.json").read_text())
    assert page["alarms"] == {"10": ["diversity is low"]}
    assert [point["diversity"] for point in page["points"]] == [1.0, 0.5]
    assert (tmp_path / "training.png").stat().st_size > 10_000
