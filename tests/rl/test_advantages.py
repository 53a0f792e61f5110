import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from reward.errors import InputError
from rl.advantages import group_index, scalar_advantages, vector_advantages

NAN = math.nan


def rows(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_groups_are_numbered_as_they_appear():
    assert group_index(["b", "a", "b", "c"]).tolist() == [0, 1, 0, 2]
    assert group_index([]).tolist() == []


def test_scalar_by_hand():
    groups = group_index(["p", "p", "q", "q"])
    found = scalar_advantages(rows(0.2, 0.6, 0.5, 0.9), groups)
    assert found.values.tolist() == pytest.approx([-1, 1, -1, 1])
    assert found.mask.all()
    assert found.metrics["batch_std"] == pytest.approx(1)


def test_the_noise_floor_quiets_what_is_not_signal():
    groups = group_index(["p", "p", "q", "q"])
    found = scalar_advantages(rows(0.50, 0.52, 0.1, 0.9), groups, noise=0.1)
    assert found.values.tolist() == pytest.approx([-0.1, 0.1, -1, 1])
    assert found.metrics["cells_floored"] == 0.5
    per_sample = scalar_advantages(rows(0.50, 0.52, 0.1, 0.9), groups, noise=rows(0.06, 0.08, NAN, NAN))
    assert per_sample.values[1] == pytest.approx(0.01 / math.sqrt((0.06**2 + 0.08**2) / 2))
    assert per_sample.values[3] == pytest.approx(1)


def test_one_scale_for_the_batch_keeps_differences_between_prompts():
    groups = group_index(["p", "p", "q", "q"])
    found = scalar_advantages(rows(0.4, 0.6, 0.0, 0.6), groups, std="batch")
    scale = math.sqrt((2 * 0.1**2 + 2 * 0.3**2) / 4)
    assert found.values.tolist() == pytest.approx([-0.1 / scale, 0.1 / scale, -0.3 / scale, 0.3 / scale])


def test_vector_by_hand():
    rewards = rows([0.2, 1.0], [0.6, 0.0], [0.3, 0.3], [0.5, 0.7])
    groups = group_index(["p", "p", "q", "q"])
    weights, noise = rows(2.0, 1.0), rows(0.0, 0.4)
    found = vector_advantages(rewards, groups, weights=weights, noise=noise, whiten=False)
    assert found.values.tolist() == pytest.approx([-2 + 1, 2 - 1, -2 - 0.5, 2 + 0.5])
    white = vector_advantages(rewards, groups, weights=weights, noise=noise)
    assert white.values.tolist() == pytest.approx([each / math.sqrt((1 + 6.25) / 2) for each in (-1, 1, -2.5, 2.5)])
    assert white.metrics["batch_std"] == pytest.approx(math.sqrt(3.625))


def test_a_dimension_that_does_not_apply_is_left_out():
    rewards = rows([0.2, NAN], [0.6, NAN], [0.2, 0.4], [0.6, NAN])
    found = vector_advantages(rewards, group_index(["p", "p", "q", "q"]), whiten=False)
    assert found.values.tolist() == pytest.approx([-1, 1, -1, 1])
    assert found.mask.all()
    assert found.metrics["cells_missing"] == pytest.approx(3 / 8)


def test_an_unanswered_cell_stays_out_of_mean_and_spread():
    rewards = rows([0.2], [0.6], [NAN])
    found = vector_advantages(rewards, group_index(["p", "p", "p"]), whiten=False)
    assert found.values.tolist() == pytest.approx([-1, 1, 0])
    assert found.mask.tolist() == [True, True, False]
    assert found.metrics["samples_missing"] == found.metrics["samples_masked"] == 1


def test_groups_that_teach_nothing_are_masked_and_counted():
    names = ["missing", "missing", "alike", "alike", "alone", "good", "good"]
    rewards = rows(NAN, NAN, 0.1 + 0.2, 0.1 + 0.2, 0.9, 0.0, 1.0)
    found = scalar_advantages(rewards, group_index(names), whiten=True)
    assert found.values.tolist() == pytest.approx([0, 0, 0, 0, 0, -1, 1])
    assert found.mask.tolist() == [False] * 5 + [True] * 2
    assert found.metrics == {
        "groups": 4, "groups_missing": 1, "groups_alike": 2, "samples": 7, "samples_missing": 2, "samples_masked": 5,
        "cells_missing": pytest.approx(2 / 7), "cells_floored": 0, "batch_std": pytest.approx(1),
    }  # fmt: skip


def test_all_missing_gives_an_empty_mask_and_no_nan():
    found = vector_advantages(torch.full((3, 2), NAN), group_index(["p", "p", "q"]))
    assert found.values.tolist() == [0, 0, 0]
    assert not found.mask.any()
    assert found.metrics["groups_missing"] == 2


def test_a_dimension_of_weight_zero_neither_counts_nor_saves_a_group():
    rewards = rows([0.2, 0.5], [0.6, 0.5], [NAN, 0.3], [NAN, 0.9])
    found = vector_advantages(rewards, group_index(["p", "p", "q", "q"]), weights=rows(0.0, 1.0), whiten=False)
    assert found.values.tolist() == pytest.approx([0, 0, -1, 1])
    assert found.mask.tolist() == [False, False, True, True]
    assert found.metrics["cells_missing"] == 0


def test_whitening_does_not_make_a_batch_without_signal_loud():
    groups = group_index(["p", "p"])
    rewards, noise = rows([0.50], [0.52]), rows(0.1)
    assert vector_advantages(rewards, groups, noise=noise).values.tolist() == pytest.approx([-1, 1])
    assert vector_advantages(rewards, groups, noise=noise, least_std=1.0).values.tolist() == pytest.approx([-0.1, 0.1])


rewards_with_gaps = arrays(np.float64, (9, 3), elements=st.one_of(st.just(NAN), st.integers(0, 8).map(lambda i: i / 8)))


@settings(deadline=None)
@given(rewards_with_gaps, arrays(np.float64, (9, 3), elements=st.floats(0, 0.5)), st.sampled_from(["group", "batch"]))
def test_against_numpy(rewards, noise, std):
    groups, weights = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2]), np.array([1.0, 0.5, 2.0])
    cells, counts = np.zeros((9, 3)), np.zeros((9, 3), bool)
    for k in range(3):
        deviations = {}
        for g in range(3):
            known = np.flatnonzero((groups == g) & ~np.isnan(rewards[:, k]))
            if len(known) and np.ptp(rewards[known, k]) > 0:
                deviations[g] = known, rewards[known, k] - rewards[known, k].mean()
        for known, deviation in deviations.values():
            pooled = np.concatenate([each for _, each in deviations.values()]) if std == "batch" else deviation
            floor = np.sqrt((noise[known, k] ** 2).mean())
            cells[known, k] = deviation / max(np.sqrt((pooled**2).mean()), floor)
            counts[known, k] = True
    mask = counts.any(axis=1)
    values = cells @ weights
    if mask.any():
        values = np.where(mask, (values - values[mask].mean()) / max(values[mask].std(), 1e-6), 0)
    found = vector_advantages(
        torch.tensor(rewards), torch.tensor(groups), weights=torch.tensor(weights), noise=torch.tensor(noise), std=std
    )
    assert found.mask.tolist() == mask.tolist()
    # Where the sums cancel, whitening divides rounding by rounding.
    if found.metrics["batch_std"] > 1e-9 or not mask.any():
        assert found.values.numpy() == pytest.approx(values, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rewards": torch.zeros(4)}, "vector reward is"),
        ({"rewards": torch.full((4, 2), math.inf)}, "sample 0 are infinite"),
        ({"groups": torch.zeros(3, dtype=torch.int64)}, "groups must be 4"),
        ({"groups": torch.tensor([0, 0, -1, 0])}, "groups must be 4"),
        ({"weights": torch.tensor([1.0, -1.0])}, "none negative"),
        ({"weights": torch.zeros(2)}, "all weights are zero"),
        ({"noise": torch.zeros(4)}, "noise must be"),
        ({"noise": torch.tensor([0.1, -0.1])}, "noise must be"),
    ],
)
def test_bad_input(change, message):
    given = {"rewards": torch.zeros(4, 2), "groups": torch.zeros(4, dtype=torch.int64), **change}
    with pytest.raises(InputError, match=message):
        vector_advantages(given.pop("rewards"), given.pop("groups"), **given)
