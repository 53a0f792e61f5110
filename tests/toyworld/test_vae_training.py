"""The autoencoder's training: its loss, its noise, its decoder without a clamp, and the exact turn of its latents."""

import math
from itertools import islice

import numpy as np
import pytest
import torch

from toyworld.vae_training import (
    build_vae,
    decode_unclamped,
    noisy,
    reconstruction_loss,
    share_of_peak,
    to_frames,
    to_video,
    train_vae,
    turn_to_principal_axes,
    videos,
)


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    return build_vae(base=8)


@pytest.fixture(scope="module")
def video():
    return next(videos(0, 4))


def test_frames_and_video_are_the_same_picture(video):
    frames = to_frames(video)
    assert video.shape == (4, 3, 9, 32, 32)
    assert frames.shape == (4, 9, 32, 32, 3)
    assert torch.equal(to_video(frames), video)
    assert to_frames(torch.full((1, 3, 1, 2, 2), 3.0)).max() == 255


def test_decoding_without_a_clamp_is_decoding_where_nothing_is_clamped(vae):
    latents = torch.randn(2, 4, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        free, clamped = decode_unclamped(vae, latents), vae.decode(latents).sample
    assert free.shape == (2, 3, 9, 32, 32)
    assert torch.equal(free.clamp(-1, 1), clamped)


def test_reconstruction_loss_by_hand():
    """One coloured pixel: it and its eight neighbours weigh 6, the other seven of 4 x 4 weigh 1."""
    video = torch.zeros(1, 3, 1, 4, 4)
    video[0, 0, 0, 1, 1] = 1.0
    made = video + 0.5
    assert reconstruction_loss(video, made).item() == pytest.approx((9 * 6 + 7) / 16 * (0.25 + 0.05))
    assert reconstruction_loss(video, video).item() == 0


def test_noise_is_at_most_as_asked_and_in_deviations_of_each_channel():
    torch.manual_seed(2)
    latents = torch.randn(400, 2, 3, 4, 4) * torch.tensor([1.0, 10.0]).view(1, 2, 1, 1, 1)
    added = (noisy(latents, 0.5) - latents).std(dim=(0, 2, 3, 4))
    assert added.tolist() == pytest.approx([0.5 / math.sqrt(3), 5 / math.sqrt(3)], rel=0.1)
    assert torch.equal(noisy(latents, 0.0), latents)


def test_learning_rate():
    assert share_of_peak(0, 100, warmup=10) == pytest.approx(0.1)
    assert share_of_peak(50, 100, warmup=10) == pytest.approx(0.5)
    assert share_of_peak(100, 100, warmup=10) == pytest.approx(0)


def test_the_turn_changes_no_picture_and_leaves_channels_apart(video):
    torch.manual_seed(3)
    vae = build_vae(base=8)
    torch.nn.init.normal_(vae.quant_conv.weight, std=0.3)
    with torch.no_grad():
        before = vae.decode(vae.encode(video).latent_dist.mode()).sample
        turn_to_principal_axes(vae, video, noise=0.4)
        posterior = vae.encode(video).latent_dist
        after = vae.decode(posterior.mode()).sample
    assert (after - before).abs().max() < 1e-5
    rows = posterior.mode().transpose(0, 1).flatten(1).numpy().astype(np.float64)
    assert np.abs(rows.mean(1)).max() < 1e-5
    covariance = np.cov(rows)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 1e-5
    deviations = np.sqrt(np.diag(covariance))
    assert vae.config.latents_mean == [0.0] * 4
    assert vae.config.latents_std == pytest.approx(np.maximum(deviations, 0.2 * deviations[0]), abs=1e-4)
    assert posterior.std.unique().tolist() == pytest.approx([0.2])


def test_training_learns_and_is_repeatable():
    losses = []
    for _ in range(2):
        torch.manual_seed(4)
        vae = build_vae(base=8)
        seen = []
        train_vae(vae, 8, videos(5, 2), lr=4e-3, noise=0.3, after_step=lambda step, loss, seen=seen: seen.append(loss))
        losses.append(seen)
        assert not vae.training
    assert losses[0] == losses[1]
    assert np.mean(losses[0][-2:]) < 0.8 * losses[0][0]


def test_videos_are_drawn_from_the_seed():
    first, second = islice(videos(7, 2), 2)
    assert torch.equal(first, next(videos(7, 2)))
    assert not torch.equal(first, second)
