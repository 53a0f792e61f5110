import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from reward.errors import InputError
from reward.pairs import PairOptions, mine_prompt, preference_probability
from reward.scores import ScoredGates, ScoreRow


def row(video: str, reward: float, std: float = 0.1, *, closed: tuple[str, ...] = (), **more: Any) -> ScoreRow:
    """A scored row; `motion` and dimensions by name, their stds as `<name>_std`."""
    motion = more.pop("motion", 20.0)
    stds = {name.removesuffix("_std"): more.pop(name) for name in list(more) if name.endswith("_std")}
    status, sha256 = more.pop("status", "ok"), more.pop("sha256", None)
    return ScoreRow(
        prompt_id="p", video=video, status=status, reward=reward, reward_std=std, sha256=sha256, dimensions=more,
        dimension_stds=stds, gates=ScoredGates(motion=motion, closed=closed),
    )  # fmt: skip


def names(pairs: Any) -> list[tuple[str, str]]:
    return [(pair.chosen.row.video, pair.rejected.row.video) for pair in pairs]


def mine(*rows: ScoreRow, **options: Any) -> Any:
    return mine_prompt(rows, PairOptions(**{"rule": "scalar", **options}))


def test_the_probability_by_hand() -> None:
    # .5 / sqrt(.3^2 + .4^2) = 1, and Phi(1) = .8413.
    assert preference_probability(0.9, 0.4, 0.3, 0.4) == pytest.approx(0.841344746)
    assert preference_probability(0.4, 0.9, 0.3, 0.4) == pytest.approx(1 - 0.841344746)
    assert preference_probability(0.5, 0.5, 0.3, 0.0) == 0.5


def test_without_doubt_the_higher_one_is_better_for_sure() -> None:
    assert preference_probability(0.6, 0.5, 0, 0) == 1
    assert preference_probability(0.5, 0.6, 0, 0) == 0
    assert preference_probability(0.5, 0.5, 0, 0) == 0.5


@settings(deadline=None)
@given(*[st.floats(0, 1)] * 2, *[st.floats(0.001, 1)] * 2)
def test_the_probability_against_scipy(m_w: float, m_l: float, s_w: float, s_l: float) -> None:
    wanted = norm.cdf(m_w - m_l, scale=math.sqrt(s_w**2 + s_l**2))
    assert preference_probability(m_w, m_l, s_w, s_l) == pytest.approx(wanted, rel=1e-9, abs=1e-15)
    assert preference_probability(m_w, m_l, s_w, s_l) + preference_probability(m_l, m_w, s_l, s_w) == pytest.approx(1)


def test_pairs_ties_and_what_lies_between() -> None:
    mined = mine(row("a", 0.9), row("b", 0.5), row("c", 0.49), row("d", 0.42))
    # b over c: Phi(.01 / .141) = .53 is a tie; b over d: Phi(.08 / .141) = .71 and c over d .69 are too close.
    assert names(mined.ties) == [("b", "c")]
    assert names(mined.pairs) == [("a", "d"), ("a", "c")]
    assert mined.rejected == {"below min_probability": 2, "over max_uses": 1}
    assert mined.pairs[0].margin == pytest.approx(0.48)


def test_at_most_so_many_pairs_and_each_video_at_most_so_often() -> None:
    rows = [row(name, reward, 0.01) for name, reward in zip("abcd", (0.9, 0.7, 0.5, 0.3), strict=True)]
    assert names(mine(*rows, max_uses=1).pairs) == [("a", "d"), ("b", "c")]
    mined = mine(*rows, max_uses=3, max_pairs_per_prompt=2)
    assert names(mined.pairs) == [("a", "d"), ("a", "c")]
    assert mined.rejected == {"over max_pairs_per_prompt": 4}


def test_the_least_margin() -> None:
    mined = mine(row("a", 0.9, 0.01), row("b", 0.8, 0.01), min_margin=0.2)
    assert not mined.pairs
    assert mined.rejected == {"below min_margin": 1}


def test_no_regression_refuses_what_is_worse_beyond_its_noise() -> None:
    better = {"mechanics": 0.9, "mechanics_std": 0.1, "common_sense": 0.3, "common_sense_std": 0.1}
    other = {"mechanics": 0.2, "mechanics_std": 0.1, "common_sense": 0.5, "common_sense_std": 0.1}
    rows = row("a", 0.9, **better), row("b", 0.4, **other)
    assert names(mine(*rows).pairs) == [("a", "b")]
    # .2 worse against a noise of sqrt(2) .1 = .141.
    assert mine(*rows, rule="no_regression").rejected == {"worse in common_sense": 1}
    assert mine(*rows, rule="pareto").rejected == {"worse in common_sense": 1}
    assert names(mine(*rows, rule="no_regression", noise_stds=1.5).pairs) == [("a", "b")]
    assert names(mine(*rows, rule="pareto", noise_stds=1.5).pairs) == [("a", "b")]


def test_pareto_wants_one_dimension_that_is_better_beyond_its_noise() -> None:
    rows = row("a", 0.9, mechanics=0.6, mechanics_std=0.3), row("b", 0.4, mechanics=0.5, mechanics_std=0.3)
    assert names(mine(*rows, rule="no_regression").pairs) == [("a", "b")]
    assert mine(*rows, rule="pareto").rejected == {"better in no dimension beyond its noise": 1}


def test_a_dimension_that_only_one_has_an_answer_in_cannot_be_compared() -> None:
    rows = row("a", 0.9, mechanics=0.6), row("b", 0.4, status="partial", mechanics=math.nan)
    assert mine(*rows, rule="no_regression").rejected == {"only one answered in mechanics": 1}
    assert names(mine(*rows).pairs) == [("a", "b")]


def test_one_dimension_whatever_the_others_say() -> None:
    rows = (
        row("a", 0.9, mechanics=0.1, mechanics_std=0.05),
        row("b", 0.4, mechanics=0.8, mechanics_std=0.05),
        row("c", 0.4, layout_2d=0.8),
    )
    mined = mine(*rows, rule="dimension", dimension="Mechanics")
    assert names(mined.pairs) == [("b", "a")]
    assert mined.pairs[0].margin == pytest.approx(0.7)
    assert [(each.video, reason) for each, reason in mined.unused] == [("c", "no score in mechanics")]


def test_a_gated_clip_loses_and_never_wins() -> None:
    frozen = row("f", 0.0, 0.0, closed=("frozen",), mechanics=0.9)
    mined = mine(frozen, row("a", 0.6, mechanics=0.4), row("g", 0.0, 0.0, closed=("black",)), rule="no_regression")
    assert names(mined.pairs) == [("a", "f"), ("a", "g")]
    assert mined.rejected == {"both gated": 1}
    assert mine(frozen, row("z", -0.9)).rejected == {"gated clip ahead": 1}
    assert mine(frozen, row("z", 0.0)).rejected == {"gated clip ahead": 1}
    by_dimension = mine(
        frozen, row("a", 0.6, mechanics=0.4, mechanics_std=0.1), rule="dimension", dimension="mechanics"
    )
    assert names(by_dimension.pairs) == [("a", "f")]


def test_motion_is_matched_where_asked_for() -> None:
    rows = row("a", 0.9, motion=50.0), row("b", 0.3, motion=40.0), row("c", 0.1, motion=math.nan)
    mined = mine(*rows, max_motion_difference=10)
    assert names(mined.pairs) == [("a", "b")]
    assert mined.rejected == {"motion not measured": 2}
    assert mine(*rows[:2], max_motion_difference=9).rejected == {"motion differs": 1}


def test_the_same_bytes_are_one_candidate() -> None:
    mined = mine(row("b", 0.9, sha256="x"), row("a", 0.9, sha256="x"), row("c", 0.2, sha256="y"))
    assert names(mined.pairs) == [("a", "c")]
    assert [(each.video, reason) for each, reason in mined.unused] == [("b", "the same content as another candidate")]
    assert mined.num_clips == 2


def test_rows_without_a_reward_or_a_std_are_counted_and_not_used() -> None:
    rows = row("a", 0.9, math.nan), row("b", 0.1), row("c", math.nan, math.nan, status="error")
    mined = mine(*rows)
    assert not mined.pairs
    assert [reason for _, reason in mined.unused] == ["no standard deviation; --reward_std gives one", "error"]
    assert names(mine(*rows, reward_std=0.2).pairs) == [("a", "b")]
    assert mine(*rows, reward_std=0.0).pairs[0].probability == pytest.approx(1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "dimension"}, "go together"),
        ({"dimension": "mechanics"}, "go together"),
        ({"rule": "dimension", "dimension": "beauty"}, "unknown dimension"),
        ({"min_probability": 0.6, "tie_band": 0.2}, "inside the tie band"),
    ],
)
def test_options_that_contradict_each_other(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PairOptions(**options).check()
    PairOptions().check()
