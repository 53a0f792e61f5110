"""trl's SFTTrainer with packed videos: our loss, a validation table per dimension, and a stop at NaN."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from accelerate.utils import gather_object
from peft import PeftModel
from trl import SFTTrainer

from distill.examples import VideoRows
from reward.errors import CriticError
from reward.packed import PackedBatch, packed_loss, predictions

_FIELDS = tuple(PackedBatch.__dataclass_fields__)
Outcome = tuple[float, bool]
"""NLL of a row, and whether it is answered right."""


class PackedTrainer(SFTTrainer):
    """Trains on batches of `distill.examples.Collator`; `groups` are its training videos, for error messages."""

    def __init__(self, *, groups: Sequence[VideoRows], eval_groups: Sequence[VideoRows], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.groups, self.eval_groups = groups, eval_groups
        # The loss is a mean per batch: the Trainer is to divide by the accumulation steps itself.
        self.model_accepts_loss_kwargs = False

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the packed loss of a batch; CriticError naming its videos if it is not a finite number."""
        loss, metrics = packed_loss(model, self._batch(inputs))
        if not torch.isfinite(loss):
            numbers = sorted(set(inputs["owners"][:, 0].tolist()))
            names = ", ".join(str(self.groups[number].video) for number in numbers)
            raise CriticError(
                f"the loss of step {self.state.global_step + 1} is {loss.item()}; its videos: {names}; nothing of this "
                "step was learned: lower --lr, or use --dtype float32, and go on with --resume"
            )
        return (loss, metrics) if return_outputs else loss

    def evaluate(self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval") -> Any:
        """Return NLL, accuracy of the checks and exact orders on the validation videos, overall and per dimension."""
        model = self.model_wrapped
        was_training = model.training
        model.eval()
        outcomes: dict[tuple[int, int], Outcome] = {}
        for inputs in self.get_eval_dataloader(eval_dataset):
            with torch.no_grad():
                outcomes |= self._outcomes(model, self._prepare_inputs(inputs))
        model.train(was_training)
        # Several processes pad their share of the videos with videos that another one has: one outcome per row counts.
        metrics = summarise(dict(gather_object(list(outcomes.items()))), self.eval_groups, metric_key_prefix)
        self.log(metrics)
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Load a checkpoint's weights by the model's own loader, strictly.

        transformers 5.23 saves Qwen-VL weights under their older names and its Trainer loads them as they are: nothing
        fits, and it only warns. Adapters and sharded checkpoints have no such names.
        """
        if isinstance(self.model, PeftModel) or self.is_fsdp_enabled or self.is_deepspeed_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        network = self.accelerator.unwrap_model(self.model)
        saved = type(network).from_pretrained(resume_from_checkpoint, dtype=network.dtype, use_safetensors=True)
        network.load_state_dict(saved.state_dict())

    def _load_best_model(self) -> None:
        self._load_from_checkpoint(str(self.state.best_model_checkpoint))

    def _outcomes(self, model: Any, inputs: dict[str, Any]) -> dict[tuple[int, int], Outcome]:
        """Return by (video, row) the NLL, and whether the most probable of the possible answers is right.

        An order's NLL is summed over its tokens, and it is right if all of them are.
        """
        batch = self._batch(inputs)
        log_p = predictions(model, batch)
        pair = log_p.gather(1, batch.targets)
        losses = -(batch.shares * pair).sum(dim=1)
        wanted, likelier = (batch.targets.gather(1, of.argmax(1, keepdim=True))[:, 0] for of in (batch.shares, pair))
        is_check = batch.targets[:, 1] != 0  # an order's token has no second target
        right = torch.where(is_check, likelier, log_p.argmax(dim=1)) == wanted
        found: dict[tuple[int, ...], Outcome] = {}
        places = torch.cat([batch.rows[:, None], inputs["owners"].to(batch.rows)], dim=1).tolist()
        for place, loss, correct in zip(map(tuple, places), losses.tolist(), right.tolist(), strict=True):
            before = found.get(place, (0.0, True))
            found[place] = before[0] + loss, before[1] and correct
        return {(video, row): outcome for (_, video, row), outcome in found.items()}

    def _batch(self, inputs: Mapping[str, Any]) -> PackedBatch:
        return PackedBatch(**{name: inputs[name] for name in _FIELDS}).to(self.args.device, self._patch_dtype())

    def _patch_dtype(self) -> torch.dtype:
        return next(p.dtype for p in self.model.parameters() if p.is_floating_point())


def summarise(
    outcomes: Mapping[tuple[int, int], Outcome], groups: Sequence[VideoRows], prefix: str
) -> dict[str, float]:
    """Return mean NLL per row and share of right answers, overall and per dimension, from outcomes by (video, row)."""
    found: dict[str, list[Outcome]] = defaultdict(list)
    for video, row in sorted(outcomes):
        for name in ("", f"_{groups[video].rows[row].dimension}"):
            found[name].append(outcomes[video, row])
    metrics = {}
    for name, rows in sorted(found.items()):
        metrics[f"{prefix}_nll{name}"] = math.fsum(loss for loss, _ in rows) / len(rows)
        metrics[f"{prefix}_accuracy{name}"] = sum(correct for _, correct in rows) / len(rows)
    return metrics
