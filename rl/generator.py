"""A text-to-video generator of any known family, by capture and replay over its stock diffusers pipeline."""

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reward.errors import InputError
from rl import lora
from rl.families.family import Family
from rl.loading import family_of, find_generator, fingerprint_of, load_pipeline
from rl.replay import Condition, Given, Replay
from rl.settings import Sampling, Size, read_sampling

PROMPTS_AT_ONCE = 16
TimeDistribution = Literal["logit_normal", "uniform"]


class Generator:
    """A pipeline and what training needs of it. Latents are fp32, (B, ...) in the transformer's normalised space.

    Times (B,) in (0, 1] are shares of the way to noise: sigma for the flow families, (index + 1) / 1000 for CogVideoX.
    `sampling` holds the settings used where none are given. `fingerprint` is a hash of configs and weights.
    """

    def __init__(self, pipe: Any, *, name: str, fingerprint: str, sampling: Sampling | None = None) -> None:
        self.pipe = pipe
        self.name, self.fingerprint = name, fingerprint
        self.adapter: Family = family_of(pipe)
        self.sampling = sampling or self.adapter.defaults
        self._replay = Replay(self.adapter)
        self._schedules: dict[Sampling, Any] = {}
        self._nothing: dict[tuple[str, int], Condition] = {}
        pipe.set_progress_bar_config(disable=True)
        for module in (*self.transformers.values(), pipe.vae, pipe.text_encoder):
            if module is not None:
                module.requires_grad_(False).eval()

    @classmethod
    def load(
        cls, name: str, *, device: str = "auto", dtype: str = "auto", revision: str | None = None, text: bool = True
    ) -> "Generator":
        """Load a folder, a model on the hub, or a short name that an installed package offers.

        `text=False` leaves text encoders out, for training on stored conditions. Raises InputError for a pipeline or a
        scheduler that is not known.
        """
        folder = find_generator(name, revision)
        pipe = load_pipeline(folder, device=device, dtype=dtype, text=text)
        generator = cls(pipe, name=name, fingerprint=fingerprint_of(folder))
        generator.sampling = read_sampling(folder, generator.sampling)
        return generator

    @property
    def family(self) -> str:
        """wan, ltx, cogvideox or hunyuan."""
        return self.adapter.name

    @property
    def device(self) -> torch.device:
        """Where the transformer is."""
        device: torch.device = self.pipe.transformer.device
        return device

    @property
    def transformers(self) -> dict[str, Any]:
        """The transformers by their names in the pipeline: one, or the two experts of Wan2.2 A14B."""
        return self.adapter.transformers

    @property
    def embeds_guidance(self) -> bool:
        """Whether guidance is a number that the model reads (HunyuanVideo); train at the number it is sampled with."""
        return self.adapter.combine == "embedded"

    # Prompts

    def encode(self, prompts: Sequence[str], sampling: Sampling | None = None) -> list[Condition]:
        """Return the condition of each prompt, computed by the stock pipeline.

        Raises InputError for a prompt of more tokens than the text encoder is given, which would be cut off silently.
        """
        sampling = sampling or self.sampling
        self.adapter.check_options(sampling)
        if self.pipe.text_encoder is None:
            raise InputError(f"generator {self.name}: was loaded without its text encoder and cannot read prompts")
        for prompt in prompts:
            tokens, limit = self.adapter.text_lengths(prompt, sampling)
            if tokens > limit:
                raise InputError(
                    f"prompt {prompt[:60]!r} has {tokens} tokens, more than the {limit} that the text encoder is "
                    "given; shorten it or raise max_sequence_length"
                )
        conditions: list[Condition] = []
        for start in range(0, len(prompts), PROMPTS_AT_ONCE):
            chunk = list(prompts[start : start + PROMPTS_AT_ONCE])
            found = self._replay.capture(sampling, prompt=chunk).keywords
            for i in range(len(chunk)):
                conditions.append({name: found[name][i : i + 1].cpu().clone() for name in self.adapter.conditions})
        return conditions

    def unconditional(self, sampling: Sampling | None = None) -> Condition:
        """Return the condition of the negative prompt, which guidance steers away from."""
        sampling = sampling or self.sampling
        key = sampling.negative_prompt, sampling.max_sequence_length
        if key not in self._nothing:
            (self._nothing[key],) = self.encode([sampling.negative_prompt], sampling)
        return self._nothing[key]

    def set_unconditional(self, condition: Condition, sampling: Sampling | None = None) -> None:
        """Give the condition of the negative prompt, where the text encoder is not loaded."""
        sampling = sampling or self.sampling
        self._nothing[sampling.negative_prompt, sampling.max_sequence_length] = condition

    # Sampling

    def schedule(self, sampling: Sampling | None = None) -> Any:
        """Return a scheduler set for sampling: `sigmas` and `timesteps` are as the stock pipeline sets them.

        Or, with schedule "uniform", linspace(1, 1/1000, steps + 1)[:-1] shifted once.
        """
        sampling = sampling or self.sampling
        if sampling not in self._schedules:
            self.adapter.check_options(sampling)
            self.adapter.check_size(sampling.size)
            if sampling.schedule == "uniform":
                self._schedules[sampling] = self.adapter.uniform_scheduler(sampling, self.device)
            else:
                self._schedules[sampling] = self._replay.scheduler(sampling)
        return copy.deepcopy(self._schedules[sampling])

    def levels(self, sampling: Sampling | None = None) -> tuple[float, ...]:
        """Return the noise levels that a clip goes through: sigmas to 0, or CogVideoX's indices."""
        return tuple(float(level) for level in self.adapter.levels(self.schedule(sampling)))

    def noise(self, seeds: Sequence[int], sampling: Sampling | None = None) -> Tensor:
        """Return the noise that clips of these seeds begin with, (B, ...) fp32 on the CPU."""
        return self._noise([torch.Generator().manual_seed(seed) for seed in seeds], sampling or self.sampling)

    def _noise(self, generators: Sequence[torch.Generator], sampling: Sampling) -> Tensor:
        shape = self.adapter.latent_shape(sampling.size)
        return torch.cat([torch.randn(1, *shape, generator=each) for each in generators])

    @torch.no_grad()
    def sample(
        self,
        conditions: Sequence[Condition],
        seeds: Sequence[int],
        sampling: Sampling | None = None,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Return the final latents of one clip per condition and seed, (B, ...) fp32 on the generator's device.

        Each clip has its own random numbers, so that it does not depend on the others of its batch. `noise` (B, ...)
        is begun with instead of that of the seeds.
        """
        sampling = sampling or self.sampling
        if len(conditions) != len(seeds):
            raise InputError(f"{len(conditions)} conditions and {len(seeds)} seeds; give one seed per clip")
        scheduler = self.schedule(sampling)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        drawn = self._noise(generators, sampling)
        latents = (drawn if noise is None else noise).to(self.device, torch.float32)
        given = self._given(conditions, sampling)
        state: dict[str, Any] = {"generators": generators}
        for index, timestep in enumerate(scheduler.timesteps):
            expert = self.adapter.expert(float(timestep))
            prediction = self._replay.predict_by(expert, latents, timestep.expand(len(latents)), given, sampling)
            latents = self.adapter.step(scheduler, prediction, index, latents, state)
        return latents

    def decode(self, latents: Tensor) -> NDArray[np.uint8]:
        """Return the clips of latents as uint8 RGB frames (B, T, H, W, 3)."""
        with torch.no_grad():
            return self.adapter.decode(latents)

    def encode_video(self, frames: NDArray[np.uint8]) -> Tensor:
        """Return the latents of uint8 RGB frames (B, T, H, W, 3): the mode of the VAE's distribution, normalised."""
        _, num_frames, height, width, _ = frames.shape
        self.adapter.check_size(Size(num_frames, height, width))
        with torch.no_grad():
            return self.adapter.encode_video(frames)

    # Training

    def predict(
        self,
        noisy: Tensor,
        times: Tensor,
        conditions: Sequence[Condition],
        guidance: float = 1.0,
        sampling: Sampling | None = None,
    ) -> Tensor:
        """Return the model's prediction at times (B,), with gradient, fp32 (B, ...): eps - x0, or v of CogVideoX.

        Each sample goes to the expert of its time. `guidance` above 1 needs the negative prompt.
        """
        sampling = dataclasses.replace(sampling or self.sampling, guidance=guidance)
        timesteps = self.adapter.timesteps(times.to(noisy.device))
        return self._replay.predict(noisy, timesteps, self._given(conditions, sampling), sampling)

    def _given(self, conditions: Sequence[Condition], sampling: Sampling) -> Given:
        if sampling.guidance <= 1 or self.embeds_guidance:
            return Given(self._replay.batch(conditions))
        nothing = [self.unconditional(sampling)] * len(conditions)
        return Given(self._replay.batch(conditions), self._replay.batch(nothing))

    def noisy(self, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """Return x_t = alpha x0 + sigma eps at times (B,)."""
        return self.adapter.noisy(clean, noise, times)

    def target(self, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """Return what `predict` should give: eps - x0, or alpha eps - sigma x0."""
        return self.adapter.target(clean, noise, times)

    def clean(self, noisy: Tensor, prediction: Tensor, times: Tensor) -> Tensor:
        """Return the x0 that a prediction at times (B,) implies."""
        return self.adapter.clean(noisy, prediction, times)

    def alpha_sigma(self, times: Tensor) -> tuple[Tensor, Tensor]:
        """Return the shares of clean latents and of noise at times (B,)."""
        return self.adapter.alpha_sigma(times)

    def draw_times(
        self,
        count: int,
        generator: torch.Generator,
        *,
        distribution: TimeDistribution = "logit_normal",
        mean: float = 0.0,
        std: float = 1.0,
        shift: float | None = None,
        sampling: Sampling | None = None,
    ) -> Tensor:
        """Return training times (count,) on the CPU.

        Flow families (Esser et al. 2024, arXiv 2403.03206, sec. 3.1): u = sigmoid(mean + std n), or uniform, then
        t = s u / (1 + (s - 1) u) with the sampler's own shift s, which moves times towards noise. CogVideoX draws
        its noise levels uniformly, whatever is asked for.
        """
        if distribution == "uniform" or not self.adapter.draws_logit_normal:
            u = torch.rand(count, generator=generator)
        else:
            u = (mean + std * torch.randn(count, generator=generator)).sigmoid()
        return self.adapter.training_times(u, shift or self.adapter.shift(sampling or self.sampling))

    def enable_gradient_checkpointing(self) -> None:
        """Recompute activations in the backward pass, for less memory."""
        for transformer in self.transformers.values():
            transformer.enable_gradient_checkpointing()

    # LoRA

    @property
    def lora_targets(self) -> tuple[str, ...]:
        """Linear layers that an adapter is put on by default."""
        return self.adapter.lora_targets

    def add_lora(
        self, r: int, alpha: float | None = None, targets: Sequence[str] = (), seed: int = 0, init: bool | str = True
    ) -> list[torch.nn.Parameter]:
        """Put a fresh adapter on every transformer, and return its parameters (fp32), the only ones that are trained.

        `alpha` is r where it is not given. `init` is peft's init_lora_weights: True leaves outputs as they are.
        """
        options = {"r": r, "lora_alpha": alpha or r, "init_lora_weights": init}
        return lora.add(self.transformers, sorted(targets or self.lora_targets), seed, options)

    @contextmanager
    def reference(self) -> Iterator[None]:
        """Switch the adapter off inside the block: the model as it was before training."""
        with lora.switched_off(self.transformers):
            yield

    def save_lora(self, folder: str | Path) -> None:
        """Save the adapter as files that the stock pipeline's load_lora_weights loads, and how to do that."""
        lora.save(self.pipe, self.transformers, Path(folder), self._made_for | {"generator": self.name})

    def load_lora(self, folder: str | Path) -> list[torch.nn.Parameter]:
        """Load an adapter that `save_lora` saved, or any LoRA of this family, and return its parameters (fp32)."""
        return lora.load(self.pipe, self.transformers, Path(folder), self._made_for)

    @property
    def _made_for(self) -> dict[str, str]:
        return {"family": self.family, "fingerprint": self.fingerprint}
