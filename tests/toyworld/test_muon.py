"""The optimiser of the toy base, against PyTorch's own and against the singular values it should have."""

import pytest
import torch

from toyworld.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(8, 8), (8, 24), (24, 8)])
def test_orthogonal_takes_the_polynomial_of_the_singular_values(shape):
    """Five times 3.4445 s - 4.775 s^3 + 2.0315 s^5 of the normed ones, by a decomposition instead of products."""
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u, s, vh = torch.linalg.svd(matrices, full_matrices=False)
    s = s / s.norm(dim=-1, keepdim=True)
    for _ in range(5):
        s = 3.4445 * s - 4.775 * s**3 + 2.0315 * s**5
    torch.testing.assert_close(orthogonal(matrices), u @ torch.diag_embed(s) @ vh)
    assert orthogonal(torch.zeros(1, *shape)).equal(torch.zeros(1, *shape))


def test_steps_are_those_of_pytorchs_muon_up_to_its_bfloat16():
    generator = torch.Generator().manual_seed(1)
    shapes = [(16, 16), (16, 40), (40, 16), (16, 16)]
    started = [torch.randn(shape, generator=generator) for shape in shapes]
    ours, theirs = ([each.clone().requires_grad_() for each in started] for _ in range(2))
    settings = {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.1}
    optimizers = [Muon(ours, **settings), torch.optim.Muon(theirs, adjust_lr_fn="match_rms_adamw", **settings)]
    for _ in range(4):
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn(mine.shape, generator=generator)
            other.grad = mine.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for before, mine, other in zip(started, ours, theirs, strict=True):
        moved, same = mine - before, other - before
        assert (moved - same).norm() < 0.02 * same.norm()


def test_what_has_no_gradient_stays_and_the_closure_is_called():
    still, moving = torch.nn.Parameter(torch.ones(3, 4)), torch.nn.Parameter(torch.ones(3, 4))

    def closure() -> float:
        loss = moving.square().sum()
        loss.backward()
        return loss.item()

    assert Muon([still, moving], lr=0.1).step(closure) == 12.0
    assert still.equal(torch.ones(3, 4))
    assert moving.square().sum() < 12.0


def test_muon_refuses_what_is_no_matrix():
    with pytest.raises(ValueError, match=r"matrices.*\(7,\)"):
        Muon([torch.ones(2, 3), torch.ones(7)], lr=0.1)
