import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from reward.errors import InputError
from rl.dpo_loss import dpo_loss, error

errors = arrays(np.float64, 6, elements=st.floats(0, 4))


def tensors(*rows):
    return [torch.tensor(row, dtype=torch.float64) for row in rows]


def test_the_error_is_the_mean_over_all_but_the_batch():
    prediction = torch.arange(2 * 3 * 2 * 2 * 2, dtype=torch.float32).reshape(2, 3, 2, 2, 2)
    target = prediction.clone()
    target[0, 1, 0, 0, 0] += 4
    target[1] -= 3
    assert error(prediction, target).tolist() == [pytest.approx(16 / 24), 9.0]
    packed = torch.zeros(2, 5, 4)
    assert error(packed, packed + 2).tolist() == [4.0, 4.0]


def test_the_error_of_bf16_is_computed_in_fp32():
    generator = torch.Generator().manual_seed(0)
    prediction = (torch.randn(2, 4, 3, 8, 8, generator=generator) + 100).bfloat16()
    target = (torch.randn(2, 4, 3, 8, 8, generator=generator) + 100).bfloat16()
    wanted = (prediction.double() - target.double()).square().flatten(1).mean(1)
    assert error(prediction, target).dtype == torch.float32
    assert torch.allclose(error(prediction, target).double(), wanted, rtol=1e-6)


@pytest.mark.parametrize(("a", "b"), [((2, 3, 4), (2, 1, 4)), ((2,), (2,)), ((2, 3), (3, 2))])
def test_shapes_that_differ_are_refused(a, b):
    with pytest.raises(InputError, match="must have one shape"):
        error(torch.zeros(a), torch.zeros(b))


def test_by_hand():
    # Delta_w = -.1, Delta_l = .1: z = -(20 / 2)(-.2) = 2; second pair the other way round: z = -2.
    mse_w, mse_l, ref_w, ref_l = tensors([0.4, 0.6], [0.6, 0.4], [0.5, 0.5], [0.5, 0.5])
    loss, metrics = dpo_loss(mse_w, mse_l, ref_w, ref_l, 20.0)
    assert float(loss) == pytest.approx((math.log1p(math.exp(-2)) + math.log1p(math.exp(2))) / 2)
    assert float(metrics["implicit_accuracy"]) == 0.5
    assert float(metrics["logits"]) == pytest.approx(0)
    assert float(metrics["winner_rise"]) == pytest.approx(0.05)
    more, _ = dpo_loss(mse_w, mse_l, ref_w, ref_l, 20.0, anchor=0.5, sft=2.0)
    assert float(more - loss) == pytest.approx(0.5 * 20 * 0.05 + 2.0 * 0.5)


@pytest.mark.parametrize("p", [None, torch.tensor([0.5, 0.9, 1.0])])
def test_log_2_where_policy_and_reference_agree(p):
    mse_w, mse_l = torch.tensor([0.3, 1.0, 2.0]), torch.tensor([0.9, 0.1, 2.0])
    loss, metrics = dpo_loss(mse_w, mse_l, mse_w, mse_l, 500.0, p=p, anchor=0.5)
    assert float(loss) == pytest.approx(math.log(2))
    assert float(metrics["implicit_accuracy"]) == 0.5


@settings(deadline=None)
@given(errors, errors, errors, errors, arrays(np.float64, 6, elements=st.floats(0, 1)), st.floats(1, 2000))
def test_against_numpy(mse_w, mse_l, ref_w, ref_l, p, beta):
    loss, metrics = dpo_loss(*tensors(mse_w, mse_l, ref_w, ref_l), beta, p=torch.tensor(p), anchor=0.3, sft=0.7)
    z = -beta / 2 * ((mse_w - ref_w) - (mse_l - ref_l))
    each = p * np.logaddexp(0, -z) + (1 - p) * np.logaddexp(0, z)
    wanted = each.mean() + 0.3 * beta * np.maximum(mse_w - ref_w, 0).mean() + 0.7 * mse_w.mean()
    assert float(loss) == pytest.approx(wanted, rel=1e-9, abs=1e-12)
    assert float(metrics["delta_l"]) == pytest.approx((mse_l - ref_l).mean(), abs=1e-12)
    swapped, _ = dpo_loss(*tensors(mse_l, mse_w, ref_l, ref_w), beta, p=torch.tensor(1 - p))
    assert float(swapped) == pytest.approx(each.mean(), rel=1e-9, abs=1e-12)


def test_an_even_label_pushes_both_ways_alike():
    for sign in (1, -1):
        loss, _ = dpo_loss(*tensors([0.5 + sign * 0.1], [0.5], [0.5], [0.5]), 10.0, p=torch.tensor([0.5]))
        assert float(loss) == pytest.approx((math.log1p(math.exp(0.5)) + math.log1p(math.exp(-0.5))) / 2)


def gradients(p=None, **options):
    mse_w, mse_l, ref_w, ref_l = tensors([0.5], [0.5], [0.5], [0.5])
    mse_w.requires_grad_(), mse_l.requires_grad_()
    loss, _ = dpo_loss(mse_w, mse_l, ref_w, ref_l, 8.0, p=None if p is None else torch.tensor([p]), **options)
    loss.backward()
    return float(mse_w.grad), float(mse_l.grad)


def test_the_gradient_lowers_the_winners_error_and_raises_the_losers():
    # dL/dz = -(p - 1/2) at z = 0 and dz/dmse_w = -beta / 2.
    assert gradients() == pytest.approx((2.0, -2.0))
    assert gradients(p=0.75) == pytest.approx((1.0, -1.0))
    assert gradients(p=0.5) == pytest.approx((0.0, 0.0))
    assert gradients(sft=0.1) == pytest.approx((2.1, -2.0))


def test_the_anchor_pulls_only_a_winner_that_has_got_worse():
    slope = {}
    for mse in (0.4, 0.6):
        mse_w, mse_l, ref_w, ref_l = tensors([mse], [mse], [0.5], [0.5])
        mse_w.requires_grad_()
        dpo_loss(mse_w, mse_l, ref_w, ref_l, 8.0, anchor=0.5)[0].backward()
        slope[mse] = float(mse_w.grad)
    assert slope == {0.4: pytest.approx(2.0), 0.6: pytest.approx(2.0 + 0.5 * 8.0)}


def test_a_missing_error_is_not_swallowed():
    loss, _ = dpo_loss(*tensors([math.nan], [0.5], [0.5], [0.5]), 8.0, anchor=0.5)
    assert math.isnan(float(loss))


def test_a_column_is_refused():
    column, row = torch.zeros(3, 1), torch.zeros(3)
    with pytest.raises(InputError, match="mse_ref_l has shape"):
        dpo_loss(row, row, row, column, 8.0)
    with pytest.raises(InputError, match="p has shape"):
        dpo_loss(row, row, row, row, 8.0, p=torch.zeros(2))
