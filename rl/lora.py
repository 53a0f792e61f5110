"""LoRA on a generator's transformers: added, switched off, saved for the stock pipeline, loaded again."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from reward.errors import InputError
from reward.files import existing, read_json, write_json

NAME = "default"
"""peft's name of the adapter."""
FILES = {"transformer": "pytorch_lora_weights.safetensors", "transformer_2": "transformer_2_lora_weights.safetensors"}
"""The first is the name that load_lora_weights(folder) looks for."""
RECORD = "lora.json"


def add(
    transformers: Mapping[str, Any], targets: list[str], seed: int, options: Mapping[str, Any]
) -> list[torch.nn.Parameter]:
    """Put a fresh adapter on every transformer, with peft's options; return its parameters, in fp32."""
    from peft import LoraConfig

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, transformer in transformers.items():
            if _has_adapter(transformer):
                raise InputError(f"{name} already has an adapter; load the generator afresh")
            _check_targets(transformer, targets)
            transformer.add_adapter(LoraConfig(target_modules=targets, **options), adapter_name=NAME)
    return _prepared(transformers)


def _check_targets(transformer: torch.nn.Module, targets: list[str]) -> None:
    """Raise InputError for a target that names no linear layer; peft would pass over it silently."""
    linear = [name for name, module in transformer.named_modules() if isinstance(module, torch.nn.Linear)]
    for target in targets:
        if not any(name == target or name.endswith(f".{target}") for name in linear):
            raise InputError(f"LoRA target {target!r} is no linear layer of the transformer; one is {linear[-1]!r}")


@contextmanager
def switched_off(transformers: Mapping[str, Any]) -> Iterator[None]:
    """Switch all adapters off inside the block, and on again however it is left.

    A backward pass must run outside: switched off, the adapter takes no part in the graph.
    """
    for name, transformer in transformers.items():
        if not _has_adapter(transformer):
            raise RuntimeError(f"{name} has no adapter to switch off: there is no reference without add_lora")
    try:
        for transformer in transformers.values():
            transformer.disable_adapters()
        yield
    finally:
        for transformer in transformers.values():
            transformer.enable_adapters()


def save(pipe: Any, transformers: Mapping[str, Any], folder: Path, facts: Mapping[str, str]) -> None:
    """Write one file per transformer in the stock format, alpha included, and lora.json, which says how to load it.

    `facts` go into lora.json: for which generator it was made.
    """
    from peft.utils import get_peft_model_state_dict

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".lora-") as temporary:
        for part, transformer in transformers.items():
            weights = get_peft_model_state_dict(transformer, adapter_name=NAME)
            pipe.save_lora_weights(
                temporary,
                transformer_lora_layers={key: value.contiguous() for key, value in weights.items()},
                weight_name=FILES[part],
                transformer_lora_adapter_metadata=_metadata(transformer),
            )
            os.replace(Path(temporary) / FILES[part], folder / FILES[part])
    loading = [f'pipe.load_lora_weights("{folder.name}")']
    if len(transformers) > 1:
        second = FILES["transformer_2"]
        loading.append(f'pipe.load_lora_weights("{folder.name}", weight_name="{second}", load_into_transformer_2=True)')
    write_json(
        folder / RECORD,
        {"schema_version": 1, **facts, "files": [FILES[part] for part in transformers], "load": loading},
    )


def load(
    pipe: Any, transformers: Mapping[str, Any], folder: Path, made_for: Mapping[str, str]
) -> list[torch.nn.Parameter]:
    """Load an adapter into every transformer through the stock pipeline; return its parameters, in fp32.

    Raises InputError for one that was trained on another generator, as far as lora.json tells.
    """
    existing(folder, "LoRA folder")
    if (folder / RECORD).exists():
        record = read_json(folder / RECORD, "LoRA record")
        for key, wanted in made_for.items():
            if record.get(key) != wanted:
                raise InputError(f"LoRA {folder}: made for {key} {record.get(key)}, and this generator's is {wanted}")
    for part, transformer in transformers.items():
        if _has_adapter(transformer):
            raise InputError(f"{part} already has an adapter; load the generator afresh")
        path = existing(folder / FILES[part], "LoRA file")
        second = {"load_into_transformer_2": True} if part != "transformer" else {}
        try:
            pipe.load_lora_weights(folder, weight_name=path.name, adapter_name=NAME, local_files_only=True, **second)
        except (ValueError, RuntimeError) as error:
            raise InputError(f"LoRA {path}: cannot be loaded: {' '.join(str(error).split())[:300]}") from None
        if not _has_adapter(transformer):
            raise InputError(f"LoRA {path}: holds nothing for {part}")
    return _prepared(transformers)


def _has_adapter(transformer: torch.nn.Module) -> bool:
    return bool(getattr(transformer, "peft_config", None))


def _prepared(transformers: Mapping[str, torch.nn.Module]) -> list[torch.nn.Parameter]:
    """Make the adapter's parameters, and no others, trainable, in fp32."""
    found = []
    for transformer in transformers.values():
        for name, parameter in transformer.named_parameters():
            parameter.requires_grad_("lora_" in name)
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
                found.append(parameter)
    return found


def _metadata(transformer: Any) -> dict[str, Any]:
    """Return the adapter's config: without it the stock loader takes alpha to be r."""
    config = transformer.peft_config[NAME].to_dict()
    return {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}
