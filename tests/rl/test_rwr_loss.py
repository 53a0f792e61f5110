import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from reward.errors import InputError
from rl.rwr_loss import rwr_loss, rwr_weights

ALL = torch.ones(4, dtype=torch.bool)


def test_by_hand():
    # exp(ln 2 / .5) = 4, exp(0) = 1, exp(-ln 2 / .5) = 1/4, exp(2 ln 2 / .5) = 16 cut to 10; their mean is 61 / 16.
    advantages = torch.tensor([math.log(2), 0.0, -math.log(2), 2 * math.log(2)], dtype=torch.float64)
    weights, metrics = rwr_weights(advantages, ALL, tau=0.5, max_weight=10.0)
    raw = np.array([4, 1, 0.25, 10])
    assert weights.tolist() == pytest.approx(list(raw * 16 / 61))
    assert float(metrics["ess"]) == pytest.approx(raw.sum() ** 2 / (raw**2).sum())
    assert float(metrics["clipped"]) == 0.25


def test_masked_samples_weigh_nothing_and_the_others_one_on_average():
    mask = torch.tensor([True, False, True, True])
    weights, metrics = rwr_weights(torch.tensor([0.0, 99.0, 0.0, 0.0]), mask, tau=1.0)
    assert weights.tolist() == [1.0, 0.0, 1.0, 1.0]
    assert float(metrics["ess"]) == pytest.approx(3)
    assert float(metrics["clipped"]) == 0


@settings(deadline=None)
@given(arrays(np.float64, 8, elements=st.floats(-300, 300)), st.floats(0.05, 2), st.floats(2, 20))
def test_against_numpy(advantages, tau, most):
    weights, metrics = rwr_weights(torch.tensor(advantages), torch.ones(8, dtype=torch.bool), tau, most)
    with np.errstate(over="ignore", under="ignore"):
        raw = np.minimum(np.exp(advantages / tau), most)
    if raw.mean() > 1e-250:
        assert weights.numpy() == pytest.approx(raw / raw.mean(), rel=1e-9)
        assert float(metrics["ess"]) == pytest.approx(raw.sum() ** 2 / (raw**2).sum(), rel=1e-6)


def test_every_weight_tiny_is_still_a_mean_of_one():
    weights, _ = rwr_weights(torch.tensor([-500.0, -501.0]), torch.ones(2, dtype=torch.bool), tau=1.0)
    assert weights.tolist() == pytest.approx([2 / (1 + math.exp(-1)), 2 / (1 + math.exp(1))])


def test_the_loss_by_hand_and_its_gradient():
    mse = torch.tensor([1.0, 2.0], requires_grad=True)
    weights = torch.tensor([1.5, 0.5], requires_grad=True)
    loss, metrics = rwr_loss(mse, weights)
    loss.backward()
    assert loss.item() == pytest.approx(1.25)
    assert mse.grad.tolist() == pytest.approx([0.75, 0.25])
    assert weights.grad is None
    assert float(metrics["mse"]) == 1.5
    assert float(metrics["batch_ess"]) == pytest.approx(4 / 2.5)


def test_a_batch_of_masked_samples_has_no_loss_and_no_effective_sample():
    loss, metrics = rwr_loss(torch.ones(2), torch.zeros(2))
    assert (float(loss), float(metrics["batch_ess"])) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("mask", "options", "message"),
    [
        (~ALL, {"tau": 1.0}, "no sample has an advantage"),
        (ALL, {"tau": 0.0}, "must be above 0"),
        (ALL, {"tau": 1.0, "max_weight": -1.0}, "must be above 0"),
        (ALL[:3], {"tau": 1.0}, "mask has shape"),
    ],
)
def test_bad_input(mask, options, message):
    with pytest.raises(InputError, match=message):
        rwr_weights(torch.zeros(4), mask, **options)
