"""Train the generator's video model: a WanTransformer3DModel by flow matching on whitened latents."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from toyworld.generator_text import WIDTH
from toyworld.vae_training import CHANNELS


def build_transformer(layers: int = 4, heads: int = 4, ffn: int = 384) -> Any:
    """Return an untrained video model: 12 tokens a clip, each 2 x 2 latent pixels of one latent frame."""
    from diffusers import WanTransformer3DModel

    return WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=heads,
        attention_head_dim=32,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        text_dim=WIDTH,
        freq_dim=64,
        ffn_dim=ffn,
        num_layers=layers,
        cross_attn_norm=True,
        rope_max_seq_len=32,
    )


@dataclass(frozen=True)
class LatentClips:
    """What the video model learns from. `latents` (N, C, T, H, W) whitened; `prompt` (N,) indexes `texts`.

    `texts` (P + 1, L, width): the prompts' embeddings as the pipeline makes them; the last one is the empty prompt's.
    """

    latents: Tensor
    prompt: Tensor
    texts: Tensor

    def batch(self, count: int, drop: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw clips and their texts, with the empty prompt in a share `drop` of them, for classifier-free guidance."""
        chosen = torch.randint(len(self.latents), (count,), generator=generator)
        dropped = torch.rand(count, generator=generator) < drop
        prompts = torch.where(dropped, len(self.texts) - 1, self.prompt[chosen])
        return self.latents[chosen], self.texts[prompts]


def flow_matching(latents: Tensor, noise: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Return noisy latents and their velocity target, rectified flow (arXiv 2209.03003, eq. 1).

    x_u = (1 - u) x_0 + u e, v = e - x_0; latents and noise (B, C, T, H, W), u (B,) in (0, 1).
    """
    level = u.view(-1, 1, 1, 1, 1)
    return (1 - level) * latents + level * noise, noise - latents


def logit_normal(count: int, mean: float, std: float, generator: torch.Generator) -> Tensor:
    """Draw times u = sigmoid(mean + std n), n normal (arXiv 2403.03206, eq. 19), of shape (count,)."""
    return torch.sigmoid(mean + std * torch.randn(count, generator=generator))


def schedule_share(step: int, steps: int, warmup: int = 100) -> float:
    """Return the learning rate's share of its peak: warm-up, constant, and linear to zero over the second half."""
    return min(1.0, (step + 1) / warmup, 2 * (1 - step / steps))


class Average:
    """Exponential moving average of a model's parameters, with a short memory at first."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.count = decay, 0
        self.parameters = [parameter.detach().clone() for parameter in model.parameters()]

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take one step's parameters."""
        self.count += 1
        decay = min(self.decay, (1 + self.count) / (10 + self.count))
        torch._foreach_lerp_(self.parameters, list(model.parameters()), 1 - decay)

    @torch.no_grad()
    def copy_to(self, model: nn.Module) -> None:
        """Put the average in a model's place."""
        for parameter, average in zip(model.parameters(), self.parameters, strict=True):
            parameter.copy_(average)


def train_transformer(
    transformer: Any,
    data: LatentClips,
    steps: int,
    *,
    batch: int = 64,
    lr: float = 2e-3,
    drop: float = 0.1,
    decay: float = 0.998,
    time_mean: float = 0.4,
    time_std: float = 1.2,
    seed: int = 0,
    compiled: bool = False,
    after_step: Callable[[int, float, Average], None] = lambda step, loss, average: None,
) -> None:
    """Train in place; what remains is the moving average. `compiled` pays off after a minute and needs a compiler."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(transformer.parameters(), lr=lr, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule_share(step, steps))
    average = Average(transformer, decay)
    model = torch.compile(transformer) if compiled else transformer
    transformer.train()
    for step in range(1, steps + 1):
        latents, texts = data.batch(batch, drop, generator)
        u = logit_normal(batch, time_mean, time_std, generator)
        noisy, target = flow_matching(latents, torch.randn(latents.shape, generator=generator), u)
        velocity = model(noisy, timestep=1000 * u, encoder_hidden_states=texts, return_dict=False)[0]
        loss = nn.functional.mse_loss(velocity, target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(transformer.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        average.update(transformer)
        after_step(step, loss.item(), average)
    average.copy_to(transformer)
    transformer.eval()
