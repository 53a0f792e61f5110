import numpy as np
import pytest
import torch

from reward.errors import InputError
from rl.dpo_loss import error
from rl.nft_loss import nft_loss, old_decay, optimality

SHAPES = [(4, 3, 2, 4, 5), (4, 6, 8)]


def draw(shape, count=4, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for _ in range(count)]


def test_optimality_maps_advantages_to_shares():
    advantages = torch.tensor([-9.0, -5.0, 0.0, 2.5, 7.0])
    assert optimality(advantages).tolist() == [0.0, 0.0, 0.5, 0.75, 1.0]
    assert optimality(advantages, adv_clip=10.0).tolist() == pytest.approx([0.05, 0.25, 0.5, 0.625, 0.85])


def test_by_hand():
    # v+ = v = 3 and v- = 2 * 1 - 3 = -1 against v* = 0: squares 9 and 1; .75 * 9 + .25 * 1 = 7, times 5.
    v, v_old, target = (torch.full((1, 2, 2), value) for value in (3.0, 1.0, 0.0))
    loss, metrics = nft_loss(v, v_old, target, torch.tensor([0.75]))
    assert float(loss) == pytest.approx(35)
    assert float(metrics["positive_loss"]) == 9
    assert float(metrics["negative_loss"]) == 1
    assert float(metrics["old_divergence"]) == 4
    # x0 form at sigma .5: (.5 * 3)^2 / (.5 * 3) = 1.5 and .5.
    x0_form, _ = nft_loss(v, v_old, target, torch.tensor([0.75]), sigma=torch.tensor([0.5]))
    assert float(x0_form) == pytest.approx(5 * (0.75 * 1.5 + 0.25 * 0.5))
    with_kl, more = nft_loss(v, v_old, target, torch.tensor([0.75]), v_ref=torch.full((1, 2, 2), 5.0), kl=0.1)
    assert float(with_kl) == pytest.approx(35.4)
    assert float(more["ref_divergence"]) == 4


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("beta", [1.0, 0.1, 0.5])
def test_against_numpy(shape, beta):
    v, v_old, v_ref, noise = draw(shape)
    (x0,) = draw(shape, 1, seed=1)
    r, t = torch.tensor([0.0, 0.3, 0.5, 1.0]).double(), torch.tensor([0.05, 0.4, 0.7, 1.0]).double()
    target = noise - x0
    wide = t.numpy().reshape(-1, *[1] * (len(shape) - 1))
    x_t = (1 - wide) * x0.numpy() + wide * noise.numpy()
    axes = tuple(range(1, len(shape)))
    plain, x0_form = [], []
    for sign in (1, -1):
        branch = (1 - sign * beta) * v_old.numpy() + sign * beta * v.numpy()
        plain.append(((branch - target.numpy()) ** 2).mean(axes))
        off = (x_t - wide * branch) - x0.numpy()
        x0_form.append((off**2).mean(axes) / np.maximum(np.abs(off).mean(axes), 1e-5))
    kl = 0.01 * ((v - v_ref).numpy() ** 2).mean()
    for sigma, (positive, negative) in ((None, plain), (t, x0_form)):
        loss, _ = nft_loss(v, v_old, target, r, beta=beta, sigma=sigma, v_ref=v_ref, kl=0.01)
        wanted = 5 * ((r.numpy() * positive + (1 - r.numpy()) * negative) / beta).mean() + kl
        assert float(loss) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("beta", "adv_clip"), [(1.0, 5.0), (0.1, 5.0), (1.0, 1.0)])
def test_on_policy_the_gradient_is_advantage_weighted_matching(shape, beta, adv_clip):
    v_old, target = draw(shape, 2)
    advantages = torch.tensor([-1.0, -0.2, 0.0, 0.9]).double()
    v = v_old.clone().requires_grad_()
    nft_loss(v, v_old, target, optimality(advantages, adv_clip), beta=beta, adv_clip=adv_clip)[0].backward()
    other = v_old.clone().requires_grad_()
    (advantages * error(other, target)).mean().backward()
    assert torch.allclose(v.grad, other.grad, rtol=1e-9, atol=1e-12)


def test_the_x0_form_turns_the_same_way_as_the_plain_one():
    v_old, target = draw((3, 2, 2, 3, 3), 2)
    r, sigma = torch.tensor([1.0, 0.5, 0.0]).double(), torch.tensor([0.3, 0.6, 0.9]).double()
    v = v_old.clone().requires_grad_()
    nft_loss(v, v_old, target, r, sigma=sigma)[0].backward()
    along = (v.grad * (v_old - target)).flatten(1).sum(1)
    assert along[0] > 0
    assert abs(along[1]) < 1e-12
    assert along[2] < 0


def test_only_the_policy_learns():
    v, v_old, target, v_ref = (each.requires_grad_() for each in draw((2, 3, 4)))
    nft_loss(v, v_old, target, torch.tensor([0.9, 0.2]), v_ref=v_ref, kl=1.0)[0].backward()
    assert v.grad is not None
    assert v_old.grad is target.grad is v_ref.grad is None


def test_bf16_is_computed_in_fp32():
    rows = draw((2, 4, 2, 8, 8), 3, dtype=torch.bfloat16)
    r = torch.tensor([0.9, 0.2])
    loss, _ = nft_loss(*rows, r, beta=0.1)
    wanted, _ = nft_loss(*(row.double() for row in rows), r, beta=0.1)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(float(wanted), rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kl": 0.1}, "needs the reference"),
        ({"beta": 0.0}, "above 0"),
        ({"sigma": torch.ones(2, 1)}, "sigma has shape"),
    ],
)
def test_bad_input(options, message):
    rows = draw((2, 3, 4), 3)
    with pytest.raises(InputError, match=message):
        nft_loss(*rows, torch.ones(2), **options)


def test_the_schedules_of_eta():
    assert [old_decay(i, "type_1") for i in (0, 100, 500, 900)] == pytest.approx([0, 0.1, 0.5, 0.5])
    assert [old_decay(i, "type_2") for i in (0, 75, 76, 175, 400)] == pytest.approx([0, 0, 0.0075, 0.75, 0.999])
    assert {old_decay(i, "on_policy") for i in range(99)} == {0.0}
    assert old_decay(7, 0.5) == 0.5
    for bad in ("type_3", 1.0, -0.1):
        with pytest.raises(InputError, match="eta"):
            old_decay(0, bad)
