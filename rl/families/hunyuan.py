"""HunyuanVideo: guidance is a number that the distilled model reads."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from rl.families.family import Combine, Family, refuse_indivisible
from rl.settings import Sampling, Size


class Hunyuan(Family):
    """HunyuanVideoPipeline. A model that is not distilled (guidance_embeds off) is guided by two calls.

    Prompts are checked against Llama's limit; CLIP, whose pooled vector is a summary, is given the first 77 tokens.
    """

    name = "hunyuan"
    pipeline = "HunyuanVideoPipeline"
    conditions: ClassVar[dict[str, str]] = {
        "encoder_hidden_states": "prompt_embeds",
        "encoder_attention_mask": "prompt_attention_mask",
        "pooled_projections": "pooled_prompt_embeds",
    }
    defaults = Sampling(num_frames=129, height=720, width=1280, fps=15, steps=50, guidance=6.0, max_sequence_length=256)

    @property
    def combine(self) -> Combine:
        """By the number, if the model was made to read it."""
        return "embedded" if self.pipe.transformer.config.guidance_embeds else "two_calls"

    def filled(self, count: int, sampling: Sampling) -> dict[str, Any]:
        """Return the guidance, (B,), in thousandths."""
        transformer = self.pipe.transformer
        scale = sampling.guidance if self.combine == "embedded" else 1.0
        return {"guidance": torch.full((count,), scale, dtype=transformer.dtype, device=transformer.device) * 1000.0}

    def text_lengths(self, prompt: str, sampling: Sampling) -> tuple[int, int]:
        """Count Llama's tokens of the prompt in the pipeline's template, of which the beginning is dropped."""
        from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE as TEMPLATE

        tokens = self.pipe.tokenizer(TEMPLATE["template"].format(prompt)).input_ids
        return len(tokens) - TEMPLATE["crop_start"], sampling.max_sequence_length

    def check_size(self, size: Size) -> None:
        """Refuse also what the pipeline refuses: sizes that 16 does not divide."""
        super().check_size(size)
        refuse_indivisible(self.name, size, 16)

    def placeholder(self, sampling: Sampling) -> dict[str, Tensor]:
        """Return zeros that count as text."""
        config, length = self.pipe.transformer.config, sampling.max_sequence_length
        return {
            "encoder_hidden_states": torch.zeros(1, length, config.text_embed_dim),
            "encoder_attention_mask": torch.ones(1, length),
            "pooled_projections": torch.zeros(1, config.pooled_projection_dim),
        }

    def normalise(self, latents: Tensor) -> Tensor:
        """Scale."""
        scaled: Tensor = latents * self.pipe.vae.config.scaling_factor
        return scaled

    def denormalise(self, latents: Tensor) -> Tensor:
        """Undo the scaling."""
        plain: Tensor = latents / self.pipe.vae.config.scaling_factor
        return plain
