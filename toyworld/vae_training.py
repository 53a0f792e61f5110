"""Train the generator's video autoencoder: AutoencoderKLWan, 9 x 32 x 32 pixels to 4 channels of 3 x 4 x 4.

Four latent channels from the start: a tiny Wan autoencoder with sixteen fills three and repeats them, and the copies
drown the signal at every noise level of the diffusion. The decoder learns to read noisy latents, as a sampler makes.
"""

import math
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from toyworld.variations import examples

CHANNELS = 4
FAITHFUL = 0.55
"""Share of clips without a fault that the autoencoder sees; it must draw faults as well."""
Frames = npt.NDArray[np.uint8]


def build_vae(base: int = 16) -> Any:
    """Return an untrained autoencoder; each residual block starts as its shortcut."""
    from diffusers import AutoencoderKLWan
    from diffusers.models.autoencoders.autoencoder_kl_wan import WanResidualBlock

    vae = AutoencoderKLWan(
        base_dim=base,
        z_dim=CHANNELS,
        dim_mult=[1, 2, 2],
        num_res_blocks=1,
        temperal_downsample=[True, True],
        is_residual=True,
        patch_size=2,
        in_channels=12,
        out_channels=12,
        latents_mean=[0.0] * CHANNELS,
        latents_std=[1.0] * CHANNELS,
        scale_factor_temporal=4,
        scale_factor_spatial=8,
    )
    for module in vae.modules():
        if isinstance(module, WanResidualBlock):
            nn.init.zeros_(module.conv2.weight)
            nn.init.zeros_(module.conv2.bias)
    return vae


def to_video(frames: Frames) -> Tensor:
    """Return uint8 frames (B, T, H, W, 3) as (B, 3, T, H, W) in [-1, 1]."""
    return torch.from_numpy(frames).permute(0, 4, 1, 2, 3).float().div_(127.5).sub_(1)


def to_frames(video: Tensor) -> Frames:
    """Return a video (B, 3, T, H, W) in [-1, 1] as uint8 frames (B, T, H, W, 3)."""
    frames: Frames = video.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8).permute(0, 2, 3, 4, 1).numpy()
    return frames


def decode_unclamped(vae: Any, latents: Tensor) -> Tensor:
    """Decode as `vae.decode` does, without its clamp, at which gradients die."""
    from diffusers.models.autoencoders.autoencoder_kl_wan import unpatchify

    vae.clear_cache()
    hidden = vae.post_quant_conv(latents)
    chunks = []
    for index in range(hidden.shape[2]):
        vae._conv_idx = [0]
        settings = {"feat_cache": vae._feat_map, "feat_idx": vae._conv_idx, "first_chunk": index == 0}
        chunks.append(vae.decoder(hidden[:, :, index : index + 1], **settings))
    vae.clear_cache()
    return unpatchify(torch.cat(chunks, dim=2), patch_size=vae.config.patch_size)


def reconstruction_loss(video: Tensor, made: Tensor, weight: float = 5.0) -> Tensor:
    """Return the mean of squared and absolute error (B, 3, T, H, W), `weight` times more on and beside colours."""
    chroma = (video.amax(1) - video.amin(1) > 0.2).float()
    near = nn.functional.max_pool2d(chroma, 3, stride=1, padding=1).unsqueeze(1)
    error = made - video
    return ((1 + weight * near) * (error.square() + 0.1 * error.abs())).mean()


def noisy(latents: Tensor, most: float) -> Tensor:
    """Add noise of up to `most` standard deviations of each channel, one level per clip; latents (B, C, T, H, W)."""
    spread = latents.detach().std(dim=(0, 2, 3, 4), keepdim=True)
    level = most * torch.rand(len(latents), 1, 1, 1, 1)
    return latents + level * spread * torch.randn_like(latents)


def share_of_peak(step: int, steps: int, warmup: int = 50) -> float:
    """Return the learning rate's share of its peak: a warm-up, then a cosine down to zero."""
    return min(1.0, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * step / steps))


def videos(seed: int, batch: int) -> Iterator[Tensor]:
    """Draw videos (B, 3, T, H, W) of the repertoire without end."""
    drawn = examples(np.random.default_rng(seed), FAITHFUL)
    while True:
        yield to_video(np.stack([example.frames for example in islice(drawn, batch)]))


def train_vae(
    vae: Any,
    steps: int,
    videos: Iterator[Tensor],
    *,
    lr: float = 4e-3,
    noise: float = 0.3,
    after_step: Callable[[int, float], None] = lambda step, loss: None,
) -> None:
    """Train in place. `noise`: the decoder's, in standard deviations; it grows over the first third."""
    optimizer = torch.optim.AdamW(vae.parameters(), lr=lr, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: share_of_peak(step, steps))
    vae.train()
    for step, video in enumerate(islice(videos, steps), start=1):
        latents = vae.encode(video).latent_dist.mode()
        made = decode_unclamped(vae, noisy(latents, noise * min(1.0, 3 * step / steps)))
        loss = reconstruction_loss(video, made)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        after_step(step, loss.item())
    vae.eval()


LEAST_SPREAD = 0.2
"""A channel that says next to nothing is not blown up by whitening: of the largest deviation."""


@torch.no_grad()
def turn_to_principal_axes(vae: Any, video: Tensor, noise: float) -> None:
    """Turn the latent channels to their principal axes, exactly, and write their deviations into the config.

    The pipeline whitens by `latents_mean` (here 0) and `latents_std`; channels that say the same become one, and one
    that stays near zero. Both 1 x 1 x 1 convolutions beside the latents take up the turn, so that what is decoded does
    not change. `video` (B, 3, T, H, W) to measure on. The posterior's spread becomes half of `noise`, in deviations.
    """
    latents = torch.cat([vae.encode(part).latent_dist.mode() for part in video.split(64)])
    rows = latents.transpose(0, 1).flatten(1)
    mean, std = rows.mean(1), rows.std(1)
    spread, axes = torch.linalg.eigh(torch.corrcoef(rows))
    turn = axes.flip(1).T / std
    back = std[:, None] * axes.flip(1)
    into, out = vae.quant_conv, vae.post_quant_conv
    out.bias += out.weight.flatten(1) @ mean
    out.weight.copy_((out.weight.flatten(1) @ back).view_as(out.weight))
    into.weight[:CHANNELS] = (turn @ into.weight[:CHANNELS].flatten(1)).view_as(into.weight[:CHANNELS])
    into.bias[:CHANNELS] = turn @ (into.bias[:CHANNELS] - mean)
    into.weight[CHANNELS:] = 0
    into.bias[CHANNELS:] = 2 * math.log(max(noise, 1e-3) / 2)
    deviations = spread.flip(0).clamp(min=0).sqrt()
    whitening = torch.maximum(deviations, LEAST_SPREAD * deviations[0])
    vae.register_to_config(latents_mean=[0.0] * CHANNELS, latents_std=whitening.tolist())
