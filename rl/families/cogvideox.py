"""CogVideoX: latents (B, F, C, H, W), v-prediction on a variance-preserving path with zero terminal SNR."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from reward.errors import InputError
from rl.families.family import Combine, Family, spread
from rl.settings import Sampling, Size

DPM = "CogVideoXDPMScheduler"


class CogVideoX(Family):
    """CogVideoXPipeline. Times are (index + 1) / 1000 for the noise levels 0 to 999 of its scheduler.

    x_t = alpha x0 + sigma eps with alpha^2 + sigma^2 = 1, and the model predicts v = alpha eps - sigma x0.
    """

    name = "cogvideox"
    pipeline = "CogVideoXPipeline"
    conditions: ClassVar[dict[str, str]] = {"encoder_hidden_states": "prompt_embeds"}
    schedulers = ("CogVideoXDDIMScheduler", DPM)
    draws_logit_normal = False
    defaults = Sampling(num_frames=49, height=480, width=720, fps=8, steps=50, guidance=6.0, max_sequence_length=226)

    @property
    def combine(self) -> Combine:
        """One call with the negative prompts first."""
        return "concat"

    def check_scheduler(self) -> None:
        """Refuse also another prediction than v."""
        super().check_scheduler()
        if self.pipe.scheduler.config.prediction_type != "v_prediction":
            kind = self.pipe.scheduler.config.prediction_type
            raise InputError(f"cogvideox: the scheduler's prediction_type {kind} is not known; known is v_prediction")

    def check_options(self, sampling: Sampling) -> None:
        """Refuse a shift or schedule of flow models, and a text length that learned positions do not fit."""
        if sampling.shift is not None or sampling.schedule != "pipeline":
            raise InputError("cogvideox: shift and schedule are for flow models; leave them out")
        config = self.pipe.transformer.config
        length = config.max_text_seq_length
        if not config.use_rotary_positional_embeddings and sampling.max_sequence_length != length:
            raise InputError(
                f"cogvideox: max_sequence_length {sampling.max_sequence_length} must be the transformer's own, {length}"
            )

    def check_size(self, size: Size) -> None:
        """Refuse also lengths that the pipeline of CogVideoX 1.5 would pad."""
        super().check_size(size)
        patch_t, frames = self.pipe.transformer.config.patch_size_t, self.latent_shape(size)[0]
        if patch_t and frames % patch_t:
            good = (frames + patch_t - frames % patch_t - 1) * self.compression[0] + 1
            raise InputError(f"cogvideox: num_frames {size.num_frames} does not fill the last patch; take {good}")

    def latent_shape(self, size: Size) -> tuple[int, ...]:
        """Return the shape of one clip's latents, (F, C, H, W)."""
        channels, frames, height, width = super().latent_shape(size)
        return frames, channels, height, width

    def size_of(self, latent_shape: Sequence[int]) -> Size:
        """Return the size of the clip that latents (F, C, H, W) decode to."""
        frames, channels, height, width = latent_shape
        return super().size_of((channels, frames, height, width))

    def placeholder(self, sampling: Sampling) -> dict[str, Tensor]:
        """Return zeros."""
        width = self.pipe.transformer.config.text_embed_dim
        return {"encoder_hidden_states": torch.zeros(1, sampling.max_sequence_length, width)}

    def timesteps(self, times: Tensor) -> Tensor:
        """Return the indices of noise levels, 0 to 999."""
        count = self.pipe.scheduler.config.num_train_timesteps
        return ((times.double() * count).round().long() - 1).clamp(0, count - 1)

    def alpha_sigma(self, times: Tensor) -> tuple[Tensor, Tensor]:
        """Return sqrt(a) and sqrt(1 - a), where a is the scheduler's alphas_cumprod at the times' indices."""
        levels = self.pipe.scheduler.alphas_cumprod.to(times.device, torch.float32)[self.timesteps(times)]
        return levels.sqrt(), (1 - levels).sqrt()

    def target(self, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """Return v = alpha eps - sigma x0."""
        alpha, sigma = self.alpha_sigma(times)
        return spread(alpha, clean) * noise - spread(sigma, clean) * clean

    def clean(self, noisy: Tensor, prediction: Tensor, times: Tensor) -> Tensor:
        """Return x0 = alpha x_t - sigma v."""
        alpha, sigma = self.alpha_sigma(times)
        return spread(alpha, noisy) * noisy - spread(sigma, noisy) * prediction

    def shift(self, sampling: Sampling) -> float:
        """Return 1: the shift of the signal-to-noise ratio is in the noise levels already."""
        return 1.0

    def training_times(self, u: Tensor, shift: float) -> Tensor:
        """Return the grid of noise levels, uniformly."""
        count = self.pipe.scheduler.config.num_train_timesteps
        return ((u * count).floor().clamp(0, count - 1) + 1) / count

    def levels(self, scheduler: Any) -> Tensor:
        """Return the indices of noise levels."""
        steps: Tensor = scheduler.timesteps
        return steps

    def step(self, scheduler: Any, prediction: Tensor, index: int, latents: Tensor, state: dict[str, Any]) -> Tensor:
        """Step DDIM without noise, or the stochastic DPM solver with each clip's own noise."""
        times = scheduler.timesteps
        if type(scheduler).__name__ != DPM:
            stepped: Tensor = scheduler.step(prediction, times[index], latents, eta=0.0, return_dict=False)[0]
            return stepped
        before = times[index - 1] if index else None
        stepped, state["old"] = scheduler.step(
            prediction,
            state.get("old"),
            times[index],
            before,
            latents,
            eta=0.0,
            generator=state["generators"],
            return_dict=False,
        )
        return stepped

    def normalise(self, latents: Tensor) -> Tensor:
        """Return (B, F, C, H, W) of the VAE's (B, C, F, H, W), scaled."""
        return latents.permute(0, 2, 1, 3, 4) * self.pipe.vae_scaling_factor_image

    def denormalise(self, latents: Tensor) -> Tensor:
        """Return the VAE's (B, C, F, H, W)."""
        return latents.permute(0, 2, 1, 3, 4) / self.pipe.vae_scaling_factor_image
