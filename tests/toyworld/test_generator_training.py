"""The video model's training: formulas by hand and by NumPy, the moving average, and that it learns."""

import numpy as np
import pytest
import torch

from toyworld.generator_training import (
    Average,
    LatentClips,
    build_transformer,
    flow_matching,
    logit_normal,
    schedule_share,
    train_transformer,
)


def clips(count=6):
    generator = torch.Generator().manual_seed(0)
    texts = torch.randn(3, 16, 64, generator=generator)
    return LatentClips(torch.randn(count, 4, 3, 4, 4, generator=generator), torch.arange(count) % 2, texts)


def test_flow_matching_by_hand():
    latents, noise = torch.full((2, 1, 1, 1, 1), 2.0), torch.full((2, 1, 1, 1, 1), -1.0)
    noisy, velocity = flow_matching(latents, noise, torch.tensor([0.0, 0.25]))
    assert noisy.flatten().tolist() == [2.0, 0.75 * 2 - 0.25]
    assert velocity.flatten().tolist() == [-3.0, -3.0]


def test_times_are_logit_normal():
    times = logit_normal(20_000, 0.4, 1.2, torch.Generator().manual_seed(1)).double().numpy()
    logits = np.log(times / (1 - times))
    assert logits.mean() == pytest.approx(0.4, abs=0.03)
    assert logits.std() == pytest.approx(1.2, abs=0.03)


def test_learning_rate():
    assert [schedule_share(step, 1000) for step in (0, 99, 400, 750, 1000)] == [0.01, 1.0, 1.0, 0.5, 0.0]


def test_moving_average_by_hand():
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(model.weight, 0.0)
    average = Average(model, decay=0.9)
    expected = 0.0
    for count, value in enumerate((1.0, 2.0, 4.0), start=1):
        torch.nn.init.constant_(model.weight, value)
        average.update(model)
        decay = min(0.9, (1 + count) / (10 + count))
        expected = decay * expected + (1 - decay) * value
    average.copy_to(model)
    assert model.weight.item() == pytest.approx(expected)


def test_batches_pair_clips_with_their_texts_and_drop_some():
    data = clips()
    latents, texts = data.batch(500, 0.0, torch.Generator().manual_seed(2))
    for row, text in zip(latents, texts, strict=True):
        number = next(i for i, each in enumerate(data.latents) if torch.equal(each, row))
        assert torch.equal(text, data.texts[number % 2])
    _, texts = data.batch(2000, 0.1, torch.Generator().manual_seed(3))
    assert (texts == data.texts[-1]).all(dim=(1, 2)).float().mean().item() == pytest.approx(0.1, abs=0.03)


def test_training_learns_one_clip_and_is_repeatable():
    data = LatentClips(clips(1).latents, torch.tensor([0]), clips(1).texts)
    weights = []
    for _ in range(2):
        torch.manual_seed(4)
        transformer = build_transformer(layers=1)
        losses = []
        train_transformer(
            transformer,
            data,
            60,
            batch=8,
            lr=3e-3,
            seed=5,
            after_step=lambda step, loss, _, kept=losses: kept.append(loss),
        )
        weights.append(transformer.proj_out.weight.clone())
    assert torch.equal(*weights)
    assert not transformer.training
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:5])
