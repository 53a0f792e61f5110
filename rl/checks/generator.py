"""Checks of a generator as it was loaded: that we call it as its stock pipeline does."""

import dataclasses
import math
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reward.errors import InputError
from rl.checks.outcome import Check, Outcome, at_most, failed, named, passed, warned
from rl.checks.subject import Subject, apart

_ADAPTER = "the adapter does not know this pipeline or this version of diffusers: report it, and do not train on it"
_WASTED = 0.5
"""A last step that begins at less than this share of the evenly spaced noise level does hardly any work."""
_NOISE = 0.98
"""The first step begins at pure noise, or nearly."""


def generator_checks(subject: Subject) -> list[Check]:
    """Return the checks of a loaded generator, in the order of its work."""
    return [
        Check("noise levels", lambda: noise_levels(subject)),
        Check("text limit", lambda: text_limit(subject)),
        Check("latents are finite", lambda: latents_finite(subject)),
        Check("replayed prediction is the pipeline's", lambda: replay(subject)),
        Check("sampler is the pipeline's", lambda: sampler(subject, guided=False)),
        Check("sampler is the pipeline's, guided", lambda: sampler(subject, guided=True), slow=True),
        Check("a clip does not depend on its batch", lambda: batch_independence(subject)),
        Check("VAE round trip", lambda: vae_round_trip(subject)),
    ]


def noise_levels(subject: Subject) -> Outcome:
    """Check the noise levels of the generator's own settings: falling from pure noise, with a last step that counts.

    FlowMatchEuler in the stock Wan pipeline shifts its smallest level twice: with shift 3 and 10 steps the last step
    begins at 0.009 instead of 0.25. A model that was trained on pure noise and is begun below it adds a grey cast
    (Lin et al. 2023, arXiv 2305.08891, sec. 3.3).
    """
    own = subject.generator.sampling
    levels = _levels(subject, own.schedule)
    shown = f"schedule {own.schedule!r}, {own.steps} steps: {', '.join(f'{each:.4g}' for each in _ends(levels))}"
    inside = bool(np.isfinite(levels).all() and (levels >= 0).all() and (levels <= 1).all())
    if not inside or len(levels) != own.steps or not np.all(np.diff(levels) < 0):
        advice = "set shift, steps and schedule in the generator's sampling.json, or repair its scheduler folder"
        return failed(shown, advice, f"{own.steps} falling levels in [0, 1]")
    if levels[0] < _NOISE:
        advice = "sampling begins where some signal should be left: set timestep_spacing to trailing, or the shift"
        return warned(shown, advice, f"first at least {_NOISE:g}", float(levels[0]))
    even = _even_last(subject)
    if even is None:
        return passed(shown, f"first at least {_NOISE:g}", float(levels[-1]))
    bar = f"last at least {_WASTED * even:.4g}"
    if levels[-1] >= _WASTED * even:
        return passed(shown, bar, float(levels[-1]))
    advice = 'the last step is all but wasted: sample with "schedule": "uniform" (in sampling.json), or with UniPC'
    return warned(f"{shown}; evenly spaced the last is {even:.4g}", advice, bar, float(levels[-1]))


def _levels(subject: Subject, schedule: Literal["pipeline", "uniform"]) -> NDArray[np.float64]:
    """Return the noise levels that steps begin at, as shares of the training range; for a small clip."""
    generator = subject.generator
    small = {name: getattr(subject.sampling, name) for name in ("num_frames", "height", "width")}
    timesteps = generator.schedule(dataclasses.replace(generator.sampling, schedule=schedule, **small)).timesteps
    count = float(generator.pipe.scheduler.config.num_train_timesteps)
    levels: NDArray[np.float64] = timesteps.double().cpu().numpy() / count
    return levels


def _even_last(subject: Subject) -> float | None:
    """Return the last of evenly spaced noise levels, None for a family that has no such schedule."""
    generator = subject.generator
    try:
        generator.adapter.check_options(dataclasses.replace(generator.sampling, schedule="uniform"))
    except InputError:
        return None
    return float(_levels(subject, "uniform")[-1])


def _ends(levels: NDArray[np.float64]) -> list[float]:
    return [float(levels[i]) for i in sorted({0, len(levels) - 1})] if len(levels) else []


def text_limit(subject: Subject) -> Outcome:
    """Check that a prompt that would be cut off is refused."""
    generator, sampling = subject.generator, subject.sampling
    _, limit = generator.adapter.text_lengths("a ball", sampling)
    most = max(generator.adapter.text_lengths(prompt, sampling)[0] for prompt in subject.prompts)
    try:
        generator.encode([" ".join(["ball"] * (limit + 8))], sampling)
    except InputError:
        return passed(f"{limit} tokens; a longer prompt is refused (the prompts here have up to {most})")
    return failed(f"a prompt of more than {limit} tokens is cut off silently", _ADAPTER)


def latents_finite(subject: Subject) -> Outcome:
    """Check that sampling in the chosen number format gives numbers."""
    latents, dtype = subject.latents, subject.generator.pipe.transformer.dtype
    bad = int((~latents.isfinite()).sum())
    shown = f"{tuple(latents.shape[1:])} in {str(dtype).removeprefix('torch.')}"
    if bad:
        advice = "use --dtype float32 or bfloat16; if it is already, the weights are damaged"
        return failed(f"{bad} of {latents.numel()} values are not finite, {shown}", advice, "0")
    return passed(f"{shown}, std {float(latents.std()):.3g}", "all finite", float(latents.std()))


def replay(subject: Subject) -> Outcome:
    """Check that the same latents and time step give the very prediction that the stock pipeline got from its model."""
    generator = subject.generator
    _, calls = subject.stock(subject.guidance)
    shape = subject.noise.shape[1:]
    differences = []
    for call in calls:
        time = _time_of(subject, call.timestep.flatten()[:1])
        if time is None:
            continue
        noisy = generator.adapter.unpack(call.hidden_states.float(), shape)
        with torch.no_grad():
            ours = generator.predict(noisy, time, subject.conditions[:1], subject.guidance, subject.sampling)
        theirs = generator.adapter.unpack(call.output.float(), shape)
        differences.append(apart(ours, theirs))
    if not differences:
        return failed(f"none of the pipeline's {len(calls)} calls could be replayed", _ADAPTER)
    worst = float(np.max(differences))  # NaN stays NaN
    return named(at_most(worst, 0.0, _ADAPTER), f"{len(differences)} of {len(calls)} calls: ")


def _time_of(subject: Subject, timestep: Tensor) -> Tensor | None:
    """Return the time (1,) that the adapter maps to exactly this time step; None where rounding leaves none."""
    adapter = subject.generator.adapter
    steps = float(adapter.pipe.scheduler.config.num_train_timesteps)
    near = (timestep.double() / steps).float()
    up, down = (torch.nextafter(near, torch.tensor(end, device=near.device)) for end in (2.0, 0.0))
    for time in (near, up, down, ((timestep.double() + 1) / steps).float()):
        if torch.equal(adapter.timesteps(time).double(), timestep.double()):
            return time
    return None


def sampler(subject: Subject, guided: bool) -> Outcome:
    """Check that our sampler makes the clip that the stock pipeline makes from the same seed."""
    generator = subject.generator
    own = subject.sampling.guidance
    guidance = (own if own > 1 else 3.0) if guided else subject.guidance
    settings = dataclasses.replace(
        subject.sampling, schedule="pipeline", shift=None, guidance=guidance, guidance_2=None
    )
    ours = generator.sample(subject.conditions[:1], subject.seeds[:1], settings)
    theirs, _ = subject.stock(guidance)
    bar = subject.tolerance(theirs, exact=1e-5)
    return named(at_most(apart(ours, theirs), bar, _ADAPTER), f"guidance {guidance:g}: ")


def batch_independence(subject: Subject) -> Outcome:
    """Check that the first clip is the same when it is sampled alone."""
    settings = subject.sampling.with_options(guidance=subject.guidance)
    alone = subject.generator.sample(subject.conditions[:1], subject.seeds[:1], settings)
    together = subject.latents[:1]
    bar = 2 * subject.tolerance(together, exact=5e-5)
    advice = "results will depend on the batch size: sample and train with one, or use --dtype float32"
    return at_most(apart(alone, together), bar, advice)


def vae_round_trip(subject: Subject) -> Outcome:
    """Check latents -> frames -> latents: finite, and normalising undoes denormalising.

    How well frames survive a second pass (PSNR) says how good the VAE is, and is only reported.
    """
    generator = subject.generator
    adapter, latents = generator.adapter, subject.latents[:1].float()
    scale = max(1.0, float(latents.abs().max()))
    undone = apart(adapter.normalise(adapter.denormalise(latents)), latents) / scale
    frames = generator.decode(latents)
    again = generator.encode_video(frames)
    if not again.isfinite().all():
        return failed("the encoder gives values that are not finite", "keep the VAE in float32: --dtype float32")
    if again.shape != latents.shape:
        return failed(f"latents {tuple(latents.shape[1:])} come back as {tuple(again.shape[1:])}", _ADAPTER)
    psnr = _psnr(frames, generator.decode(again))
    outcome = at_most(undone, 1e-5, _ADAPTER, "normalisation undone within")
    return named(outcome, f"frames {frames.shape[1:]}, second pass {psnr:.1f} dB, std {float(again.std()):.2f}; ")


def _psnr(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """Return the peak signal-to-noise ratio of uint8 frames in decibels."""
    error = float(np.square(first.astype(np.float64) - second.astype(np.float64)).mean())
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)
