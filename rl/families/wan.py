"""Wan 2.1 and 2.2: two experts of A14B, one time step per token of TI2V-5B."""

from typing import ClassVar

import torch
from torch import Tensor

from reward.errors import InputError
from rl.families.family import DEFAULT, Family, refuse_indivisible
from rl.settings import Sampling, Size

SECOND = "transformer_2"


class Wan(Family):
    """WanPipeline. The text encoder's padding is replaced by zeros, which the transformer attends to."""

    name = "wan"
    pipeline = "WanPipeline"
    conditions: ClassVar[dict[str, str]] = {"encoder_hidden_states": "prompt_embeds"}
    schedulers = ("FlowMatchEulerDiscreteScheduler", "UniPCMultistepScheduler")
    defaults = Sampling(num_frames=81, height=480, width=832, fps=16, steps=50, guidance=5.0, max_sequence_length=512)
    precise_vae = True

    @property
    def transformers(self) -> dict[str, torch.nn.Module]:
        """One transformer, or the experts for high and for low noise."""
        found = super().transformers
        return found if self.pipe.config.boundary_ratio is None else {**found, SECOND: self.pipe.transformer_2}

    def expert(self, timestep: float) -> str:
        """Return the expert for high noise from the boundary on, the other one below."""
        ratio = self.pipe.config.boundary_ratio
        if ratio is None or timestep >= ratio * self.pipe.scheduler.config.num_train_timesteps:
            return DEFAULT
        return SECOND

    def check_scheduler(self) -> None:
        """Refuse also a UniPC that is not set up for flow matching."""
        super().check_scheduler()
        config = self.pipe.scheduler.config
        flow = config.get("prediction_type", "flow_prediction") == "flow_prediction"
        if not flow or not config.get("use_flow_sigmas", True):
            raise InputError(
                "wan: the scheduler UniPCMultistepScheduler needs prediction_type flow_prediction and use_flow_sigmas"
            )
        if self.pipe.transformer is None:
            raise InputError("wan: a pipeline without its first transformer is not known to the adapter")

    def text_lengths(self, prompt: str, sampling: Sampling) -> tuple[int, int]:
        """Count the tokens of the prompt as the pipeline cleans it."""
        from diffusers.pipelines.wan.pipeline_wan import prompt_clean

        return super().text_lengths(prompt_clean(prompt), sampling)

    @property
    def multiple(self) -> int:
        """Latents per patch times pixels per latent."""
        return int(self.compression[1] * self.pipe.transformer.config.patch_size[1])

    def check_size(self, size: Size) -> None:
        """Refuse also what the pipeline refuses: sizes that 16 does not divide."""
        super().check_size(size)
        refuse_indivisible(self.name, size, 16)

    def placeholder(self, sampling: Sampling) -> dict[str, Tensor]:
        """Return zeros."""
        width = self.pipe.transformer.config.text_dim
        return {"encoder_hidden_states": torch.zeros(1, sampling.max_sequence_length, width)}

    def normalise(self, latents: Tensor) -> Tensor:
        """Subtract the mean and divide by the standard deviation of each channel, from the VAE's config."""
        mean, std = self._moments(latents)
        return (latents - mean) / std

    def denormalise(self, latents: Tensor) -> Tensor:
        """Multiply by the standard deviation and add the mean."""
        mean, std = self._moments(latents)
        return latents * std + mean

    def _moments(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        config = self.pipe.vae.config
        shape = (1, config.z_dim, 1, 1, 1)
        mean, std = (
            torch.tensor(values).view(shape).to(latents) for values in (config.latents_mean, config.latents_std)
        )
        return mean, std
