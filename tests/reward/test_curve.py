import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from reward.curve import Pool, best_of_n_curve, pooled_between_variance
from reward.curve_svg import curve_svg
from reward.errors import InputError

SVG = "{http://www.w3.org/2000/svg}"


def pools(sizes: list[int], std: float = 0.05) -> list[Pool]:
    generator = np.random.default_rng(0)
    return [Pool(generator.uniform(0.2, 0.9, size), np.full(size, std)) for size in sizes]


def test_each_n_averages_over_the_prompts_that_have_so_many() -> None:
    some = pools([1, 3, 3])
    points = best_of_n_curve(some, 0.0, pooled_between_variance(some), 1000, 0)
    assert [(point.n, point.num_prompts) for point in points] == [(1, 3), (2, 2), (3, 2)]
    assert points[0].reward == pytest.approx(np.mean([pool.rewards.mean() for pool in some]))
    assert points[2].reward == pytest.approx(np.mean([pool.rewards.max() for pool in some[1:]]))
    by_hand = np.mean([pool.rewards.max() - pool.rewards.mean() for pool in some[1:]])
    assert points[2].gain == pytest.approx(by_hand)


def test_correction_takes_away_but_never_adds() -> None:
    some = pools([6] * 20)
    points = best_of_n_curve(some, 0.0, pooled_between_variance(some), 1000, 0)
    assert points[0].gain == 0
    for point in points[1:]:
        assert point.true_gain is not None
        assert 0 < point.true_gain < point.gain
        assert point.gain_interval.low is not None
        assert point.gain_interval.high is not None
        assert point.gain_interval.low < point.gain < point.gain_interval.high


def test_a_missing_std_leaves_the_correction_out_with_a_reason() -> None:
    some = [*pools([3]), Pool(np.array([0.2, 0.4]), np.array([0.1, np.nan]))]
    assert pooled_between_variance(some) is None
    points = best_of_n_curve(some, 0.0, None, 1000, 0)
    assert points[1].true_gain is None
    assert points[1].true_gain_interval.reason == "some candidates carry no reward_std"


def test_no_pool_is_refused() -> None:
    with pytest.raises(InputError, match="no prompt has a scored candidate"):
        best_of_n_curve([], 0.0, None, 1000, 0)


def test_picture_draws_every_point_inside_the_frame() -> None:
    some = pools([5] * 8)
    points = best_of_n_curve(some, 0.0, pooled_between_variance(some), 1000, 0)
    root = ElementTree.fromstring(curve_svg(points, "best <of> n & more"))
    lines = root.findall(f"{SVG}polyline")
    assert len(lines) == 2
    for line in lines:
        pairs = [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]
        assert len(pairs) == 5
        assert all(70 <= x <= 620 and 56 <= y <= 348 for x, y in pairs)
        assert [x for x, _ in pairs] == sorted(x for x, _ in pairs)
        assert pairs[-1][1] < pairs[0][1]
    assert "best <of> n & more" in [text.text for text in root.findall(f"{SVG}text")]
    assert len(root.findall(f"{SVG}polygon")) == 2


def test_picture_of_one_prompt_without_intervals_and_without_gain() -> None:
    flat = [Pool(np.array([0.5, 0.5]), np.array([np.nan, np.nan]))]
    root = ElementTree.fromstring(curve_svg(best_of_n_curve(flat, 0.0, None, 1000, 0), "flat"))
    assert len(root.findall(f"{SVG}polyline")) == 1
    assert "nan" not in ElementTree.tostring(root).decode()
