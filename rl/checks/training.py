"""Checks of what training relies on: the adapter, the reference, gradients, saving and resuming."""

import math
import tempfile
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from rl import lora
from rl.checkpoints import last_checkpoint, load_checkpoint, save_checkpoint
from rl.checks.outcome import Check, Outcome, at_most, failed, named, passed
from rl.checks.subject import ALPHA, RANK, Subject, apart
from rl.dpo_loss import dpo_loss
from rl.matching import error
from rl.weights import AdapterWeights

_BETA = 1000.0
_STEPS = 2
"""Optimiser steps before and after the interruption."""


def training_checks(subject: Subject) -> list[Check]:
    """Return the checks of training, each of which puts an adapter on and takes it off."""
    return [
        Check("a fresh adapter changes nothing", lambda: fresh_adapter(subject)),
        Check("DPO loss at step 0 is log 2", lambda: dpo_at_start(subject)),
        Check("adapter off is the base", lambda: reference_is_base(subject)),
        Check("gradient in the adapter alone", lambda: gradient_in_adapter(subject)),
        Check("gradient checkpointing, same gradient", lambda: checkpointing(subject), slow=True),
        Check("saved LoRA in the stock pipeline", lambda: lora_round_trip(subject)),
        Check("resumed training is the same", lambda: resume(subject), slow=True),
    ]


def fresh_adapter(subject: Subject) -> Outcome:
    """Check that policy and base agree at step 0, so that the ratio of their likelihoods is exactly 1."""
    with subject.adapter(), torch.no_grad():
        return at_most(
            apart(subject.predict(), subject.base),
            0.0,
            "the adapter is not zero at the start: use peft's default init_lora_weights",
        )


def dpo_at_start(subject: Subject) -> Outcome:
    """Check the loss of Diffusion-DPO before the first step, computed as training computes it."""
    with subject.adapter(), torch.no_grad():
        policy = error(subject.predict(), subject.target)
        with subject.generator.reference():
            reference = error(subject.predict(), subject.target)
        loss, metrics = dpo_loss(policy[:1], policy[1:], reference[:1], reference[1:], beta=_BETA)
    outcome = at_most(
        abs(float(loss) - math.log(2)),
        1e-6,
        "policy and reference differ before any training: see the two lines around this one",
    )
    return named(outcome, f"loss {float(loss):.6f}, accuracy {float(metrics['implicit_accuracy']):g}: ")


def reference_is_base(subject: Subject) -> Outcome:
    """Check that an adapter that does something is switched off altogether, and on again."""
    with subject.trained_adapter(), torch.no_grad():
        before = subject.predict()
        with subject.generator.reference():
            off = apart(subject.predict(), subject.base)
        after = subject.predict()
    effect = apart(before, subject.base)
    if not effect > 0:
        return failed("the adapter has no effect when it is on", _targets(subject))
    if apart(after, before) > 0:
        return failed("the adapter is not the same when it is switched on again", "report this")
    outcome = at_most(off, 0.0, "the reference is not the base: do not train")
    return named(outcome, f"effect {effect:.3g} on; off: ")


def gradient_in_adapter(subject: Subject) -> Outcome:
    """Check that a loss reaches the adapter of every transformer, and no other parameter."""
    with subject.trained_adapter() as parameters:
        error(subject.predict(), subject.target).mean().backward()
        outside, reached, silent = 0, 0, []
        own = {id(parameter) for parameter in parameters}
        for name, transformer in subject.generator.transformers.items():
            found = [each for each in transformer.parameters() if each.grad is not None]
            outside += sum(id(each) not in own for each in found)
            alive = sum(bool(each.grad.isfinite().all() and each.grad.any()) for each in found if id(each) in own)
            reached += alive
            silent += [] if alive else [name]
        _forget(parameters)
    shown = f"{reached} of {len(parameters)} adapter tensors reached, {outside} others"
    if outside:
        return failed(shown, "something outside the adapter would be trained: report this", "0 others", outside)
    if silent:
        return failed(f"{shown}; none in {', '.join(silent)}", _targets(subject))
    return passed(shown, "0 others", outside)


def checkpointing(subject: Subject) -> Outcome:
    """Check that recomputing activations gives the gradient that keeping them gives."""
    with subject.trained_adapter() as parameters:
        kept = _gradient(subject, parameters)
        subject.generator.enable_gradient_checkpointing()
        try:
            computed_again = _gradient(subject, parameters)
        finally:
            for transformer in subject.generator.transformers.values():
                transformer.disable_gradient_checkpointing()
    share = apart(computed_again, kept) / max(float(kept.abs().max()), 1e-12)
    advice = "train this model without --gradient_checkpointing"
    return at_most(share, 1e-5 if subject.precise else 0.05, advice, "share of the largest")


def lora_round_trip(subject: Subject) -> Outcome:
    """Check that a saved adapter does in the stock pipeline what it did here.

    Its alpha is twice its rank, so that a lost alpha leaves half of its effect, which no rounding does.
    """
    pipe, transformers = subject.generator.pipe, subject.generator.transformers
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        with subject.trained_adapter():
            trained = subject.predict()
            subject.generator.save_lora(folder)
        left = apart(subject.predict(), subject.base)
        try:
            for part in transformers:
                second = {"load_into_transformer_2": True} if part != "transformer" else {}
                pipe.load_lora_weights(folder, weight_name=lora.FILES[part], adapter_name=lora.NAME, **second)
            loaded = subject.predict()
        finally:
            subject.take_off()
    effect = float((trained - subject.base).norm())
    share = float((loaded - trained).norm()) / effect if effect else math.nan
    if left > 0:
        return failed(f"taken off, the adapter still changes predictions by {left:.3g}", "report this")
    advice = "the stock pipeline makes something else of the file: look for alpha in its metadata, and for missing keys"
    outcome = at_most(share, 1e-3 if subject.precise else 0.3, advice, "differs by a share of its effect of")
    return named(outcome, f"r {RANK}, alpha {ALPHA}: ")


def resume(subject: Subject) -> Outcome:
    """Check that training that was saved and resumed gives the very weights of training that ran through."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with subject.adapter() as parameters:
            weights = AdapterWeights(parameters)
            optimiser = torch.optim.AdamW([weights.vector], lr=1e-3)
            _train(subject, weights, optimiser, range(_STEPS))
            state = {key: torch.as_tensor(value) for key, value in optimiser.state[weights.vector].items()}
            save_checkpoint(folder, _STEPS, {"vector": weights.vector, **state}, {}, keep=1)
            start = weights.copy()
            _train(subject, weights, optimiser, range(_STEPS, 2 * _STEPS))
            through = weights.copy()
        with subject.adapter() as parameters:
            weights = AdapterWeights(parameters)
            optimiser = torch.optim.AdamW([weights.vector], lr=1e-3)
            tensors, record = load_checkpoint(last_checkpoint(folder))
            weights.set(tensors.pop("vector").to(weights.vector))
            device = weights.vector.device
            optimiser.state[weights.vector] = {
                key: value if key == "step" else value.to(device) for key, value in tensors.items()
            }
            _train(subject, weights, optimiser, range(record["step"], 2 * _STEPS))
            resumed = weights.copy()
    if not apart(through, start) > 0:
        return failed("training changed nothing", _targets(subject))
    bar = 0.0 if subject.generator.device.type == "cpu" else 1e-2 * apart(through, start)
    advice = "a resumed run would be another run; on a GPU, kernels that are not deterministic do this too"
    return named(at_most(apart(resumed, through), bar, advice), f"{_STEPS} + {_STEPS} steps: ")


def _train(subject: Subject, weights: AdapterWeights, optimiser: torch.optim.Optimizer, steps: Iterable[int]) -> None:
    """Take steps of flow matching on the two samples; noise is a function of the step's number."""
    generator = subject.generator
    for step in steps:
        noise = generator.noise([100 * step + seed for seed in subject.seeds], subject.sampling).to(generator.device)
        noisy = generator.noisy(subject.latents, noise, subject.times)
        prediction = generator.predict(noisy, subject.times, subject.conditions, subject.guidance, subject.sampling)
        weights.gradient.zero_()
        error(prediction, generator.target(subject.latents, noise, subject.times)).mean().backward()
        weights.check_gradients()
        optimiser.step()


def _gradient(subject: Subject, parameters: list[torch.nn.Parameter]) -> Tensor:
    """Return the adapter's gradient as one vector."""
    error(subject.predict(), subject.target).mean().backward()
    parts = [torch.zeros_like(each) if each.grad is None else each.grad for each in parameters]
    gradient = torch.cat([part.flatten() for part in parts]).clone()
    _forget(parameters)
    return gradient


def _forget(parameters: Iterable[torch.nn.Parameter]) -> None:
    for parameter in parameters:
        parameter.grad = None


def _targets(subject: Subject) -> str:
    return f"the adapter is on layers that do not matter; give --lora_targets, such as {subject.generator.lora_targets}"
