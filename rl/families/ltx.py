"""LTX-Video: packed latents, a shift that depends on the size of the clip, positions that depend on its frame rate."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from rl.families.family import Combine, Family, refuse_indivisible
from rl.settings import Sampling, Size


class Ltx(Family):
    """LTXPipeline. Latents are kept as (B, C, F, H, W) and packed to (B, S, D) for the transformer alone.

    A VAE with a timestep-conditioned decoder is decoded at time 0, which is the pipeline's default.
    """

    name = "ltx"
    pipeline = "LTXPipeline"
    conditions: ClassVar[dict[str, str]] = {
        "encoder_hidden_states": "prompt_embeds",
        "encoder_attention_mask": "prompt_attention_mask",
    }
    defaults = Sampling(num_frames=161, height=512, width=704, fps=25, steps=50, guidance=3.0, max_sequence_length=128)

    @property
    def combine(self) -> Combine:
        """One call with the negative prompts first."""
        return "concat"

    def call_arguments(self, sampling: Sampling) -> dict[str, Any]:
        """Tell the pipeline the frame rate too."""
        return super().call_arguments(sampling) | {"frame_rate": sampling.fps}

    @property
    def compression(self) -> tuple[int, int]:
        """As the pipeline reads it from the VAE."""
        return self.pipe.vae_temporal_compression_ratio, self.pipe.vae_spatial_compression_ratio

    def check_size(self, size: Size) -> None:
        """Refuse also what the pipeline refuses: sizes that 32 does not divide."""
        super().check_size(size)
        refuse_indivisible(self.name, size, 32)

    def placeholder(self, sampling: Sampling) -> dict[str, Tensor]:
        """Return zeros that count as text."""
        length, width = sampling.max_sequence_length, self.pipe.transformer.config.caption_channels
        mask = torch.ones(1, length, dtype=torch.bool)
        return {"encoder_hidden_states": torch.zeros(1, length, width), "encoder_attention_mask": mask}

    def pack(self, latents: Tensor) -> Tensor:
        """Return (B, S, D) of (B, C, F, H, W)."""
        packed: Tensor = self.pipe._pack_latents(latents, *self._patches)
        return packed

    def unpack(self, output: Tensor, latent_shape: Sequence[int]) -> Tensor:
        """Return (B, C, F, H, W) of (B, S, D)."""
        patch, patch_t = self._patches
        _, frames, height, width = latent_shape
        grid = frames // patch_t, height // patch, width // patch
        unpacked: Tensor = self.pipe._unpack_latents(output, *grid, patch, patch_t)
        return unpacked

    @property
    def _patches(self) -> tuple[int, int]:
        return self.pipe.transformer_spatial_patch_size, self.pipe.transformer_temporal_patch_size

    def shift(self, sampling: Sampling) -> float:
        """Return the shift at this size: exp(mu), where mu rises with the number of latent pixels."""
        from diffusers.pipelines.ltx.pipeline_ltx import calculate_shift

        config = self.pipe.scheduler.config
        if sampling.shift is not None or not config.use_dynamic_shifting:
            return super().shift(sampling)
        limits = (config.base_image_seq_len, config.max_image_seq_len, config.base_shift, config.max_shift)
        mu = calculate_shift(math.prod(self.latent_shape(sampling.size)[1:]), *limits)
        return math.exp(mu) if config.time_shift_type == "exponential" else mu

    def normalise(self, latents: Tensor) -> Tensor:
        """Subtract the mean and divide by the standard deviation of each channel, from the VAE's buffers."""
        vae = self.pipe.vae
        normal: Tensor = self.pipe._normalize_latents(
            latents, vae.latents_mean, vae.latents_std, vae.config.scaling_factor
        )
        return normal

    def denormalise(self, latents: Tensor) -> Tensor:
        """Multiply by the standard deviation and add the mean."""
        vae = self.pipe.vae
        plain: Tensor = self.pipe._denormalize_latents(
            latents, vae.latents_mean, vae.latents_std, vae.config.scaling_factor
        )
        return plain

    def _vae_decode(self, latents: Tensor) -> Tensor:
        vae = self.pipe.vae
        time = latents.new_zeros(len(latents)) if vae.config.timestep_conditioning else None
        video: Tensor = vae.decode(latents, time, return_dict=False)[0]
        return video
