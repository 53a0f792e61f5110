"""The run behind `worldcritic sft`: model, trainer, best weights, finished critic."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForImageTextToText, AutoTokenizer, set_seed
from trl import SFTConfig

from distill.card import write_card
from distill.examples import Collator, VideoRows, group_by_video
from distill.rows import Row
from distill.sft import LORA_TARGETS, Config, seen_videos
from distill.trainer import PackedTrainer
from reward.critic import VideoCritic, unwrapped
from reward.errors import InputError
from reward.loading import find_folder, zero_shot_manifest
from reward.manifest import FramesRecord, Manifest, read_manifest
from reward.training import TrainingRecord, write_training


def train(config: Config, rows: Sequence[Row], held_out: Sequence[Row], checkpoint: Path | None) -> dict[str, float]:
    """Train, save the best weights as a critic, and return the validation metrics of what was saved.

    Every process of a launch takes part; the first one alone writes the critic.
    """
    set_seed(config.seed)
    base = find_folder(config.model)
    model, tokenizer = _load(base, config)
    manifest = _manifest(config, base, model, tokenizer)
    critic = VideoCritic(model, tokenizer, manifest)
    root = config.videos or Path()
    groups, eval_groups = group_by_video(rows, root), group_by_video(held_out, root)
    _refuse_missing([*groups, *eval_groups])

    def collator(which: Sequence[VideoRows], **order: Any) -> Collator:
        return Collator(which, critic.front_end, critic.tokens, critic.sampling, config.labels, **order)

    # Validation is by likelihood whatever is learned, so that runs compare.
    learned = {name: getattr(config, name) for name in ("order_weight", "order_loss", "lcs_weight")}

    trainer = PackedTrainer(
        model=model,
        args=_arguments(config, bool(held_out)),
        data_collator=_Switch(collator(groups, **learned), collator(eval_groups)),
        train_dataset=_numbers(groups, "train"),
        eval_dataset=_numbers(eval_groups, "eval") if eval_groups else None,
        processing_class=tokenizer,
        groups=groups,
        eval_groups=eval_groups,
    )
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    metrics = trainer.evaluate() if eval_groups else {}
    whole = trainer.accelerator.get_state_dict(trainer.model_wrapped) if trainer.is_fsdp_enabled else None
    if trainer.is_world_process_zero():
        critic.model = trainer.accelerator.unwrap_model(trainer.model)
        critic.save_pretrained(config.out / "critic", whole)
        write_training(config.out / "critic", TrainingRecord(*seen_videos(rows, root)))
        steps = {"steps": trainer.state.global_step, "best step": trainer.state.best_global_step}
        write_card(config.out / "critic", config, rows, held_out, metrics=metrics, steps=steps)
    return metrics


class _Switch:
    """Collates training and validation videos, which are numbered apart, by the dataset that an example is of."""

    def __init__(self, train: Collator, evaluate: Collator) -> None:
        self.collators = {"train": train, "eval": evaluate}

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        return self.collators[examples[0]["split"]](examples)


def _numbers(groups: Sequence[VideoRows], split: str) -> Dataset:
    return Dataset.from_dict({"video": list(range(len(groups))), "split": [split] * len(groups)})


def _load(base: Path, config: Config) -> tuple[Any, Any]:
    on_gpu = config.device == "auto" and torch.cuda.is_available()
    dtype = torch.bfloat16 if on_gpu else torch.float32
    try:
        tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
        model = AutoModelForImageTextToText.from_pretrained(
            base,
            dtype=dtype if config.dtype == "auto" else getattr(torch, config.dtype),
            attn_implementation="sdpa",
            use_safetensors=True,
            local_files_only=True,
        )
    except (OSError, ValueError) as error:
        raise InputError(f"model {config.model}: cannot be loaded: {' '.join(str(error).split())[:300]}") from None
    if not config.lora:
        return model, tokenizer
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(r=config.lora_r, lora_alpha=config.lora_alpha, target_modules=LORA_TARGETS)
    return get_peft_model(model, lora), tokenizer


def _manifest(config: Config, base: Path, model: Any, tokenizer: Any) -> Manifest:
    """Return the new critic's manifest: the base's own where it is a critic, with this run's frames and pixels."""
    found = read_manifest(base) or zero_shot_manifest(config.model, unwrapped(model).config, tokenizer, base)
    pixels = dataclasses.replace(
        found.pixels, max_pixels=config.max_pixels, min_pixels=min(found.pixels.min_pixels, config.max_pixels)
    )
    return dataclasses.replace(
        found,
        name=config.name or config.out.resolve().name,
        trained=True,
        frames=FramesRecord(num_frames=config.video_frames, fps=config.video_fps),
        pixels=pixels,
        base_model=config.model if config.lora else None,
        weights={},
    )


def _refuse_missing(groups: Sequence[VideoRows]) -> None:
    missing = [group for group in groups if not group.video.exists()]
    if missing:
        raise InputError(
            f"{missing[0].rows[0].where}: video {missing[0].video} does not exist ({len(missing)} of {len(groups)} "
            "videos are missing); --videos names the folder that the paths are relative to"
        )


def _arguments(config: Config, validated: bool) -> SFTConfig:
    saving: dict[str, Any] = {
        "save_strategy": "steps",
        "save_steps": config.eval_steps,
        "save_total_limit": config.keep,
    }
    best: dict[str, Any] = {
        "eval_strategy": "steps",
        "eval_steps": config.eval_steps,
        "load_best_model_at_end": True,
        "metric_for_best_model": "eval_nll",
        "greater_is_better": False,
    }
    return SFTConfig(
        output_dir=str(config.out),
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=config.batch_size,
        gradient_accumulation_steps=config.accumulate,
        learning_rate=config.lr,
        lr_scheduler_type="cosine",
        warmup_steps=config.warmup,
        weight_decay=config.weight_decay,
        num_train_epochs=config.epochs,
        max_steps=config.max_steps or -1,
        seed=config.seed,
        use_cpu=config.device == "cpu",
        bf16=False,
        activation_checkpointing=config.gradient_checkpointing,
        max_length=None,
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        dataloader_num_workers=config.workers,
        logging_steps=min(10, config.eval_steps),
        logging_nan_inf_filter=False,
        report_to=config.report_to,
        ddp_find_unused_parameters=False,
        disable_tqdm=None,
        **saving,
        **(best if validated else {}),
    )
