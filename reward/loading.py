"""Finding and loading critics: a folder, a model on the hub, or a name that an installed package gives.

A package offers a critic under a short name by an entry point in the group "worldcritic.critics" that points to a
callable taking LoadOptions and returning a RewardModel; `toyworld` is such a name.
"""

import dataclasses
import re
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reward.dimensions import NAMES
from reward.errors import InputError
from reward.files import read_json
from reward.manifest import (
    FILE_NAME,
    FramesRecord,
    Manifest,
    PixelsRecord,
    check_weights,
    read_manifest,
    same,
)
from reward.options import LoadOptions
from reward.wording import WORDING_HASH

if TYPE_CHECKING:
    from reward.critic import VideoCritic
    from reward.model import RewardModel

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_FILES = ["*.json", "*.safetensors", "*.txt", "*.jinja"]
ENTRY_POINTS = "worldcritic.critics"


def offered(name: str, options: LoadOptions) -> "RewardModel | None":
    """Return the reward model that a package offers under a short name, None if none does."""
    for entry_point in entry_points(group=ENTRY_POINTS, name=name):
        model: RewardModel = entry_point.load()(options)
        return model
    return None


def find_folder(name: str, revision: str | None = None) -> Path:
    """Return the local folder of a critic, downloading it from the hub if it is not a folder here."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    short = ", ".join(sorted(entry_points(group=ENTRY_POINTS).names))
    if folder.exists() or not _REPOSITORY.fullmatch(name):
        raise InputError(f"critic {name!r} is not a folder, and cannot be a model on the hub; short names are: {short}")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=_FILES))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"critic {name!r} is not a folder here, and the hub does not give it: {reason}; short names are: {short}"
        ) from None


def load_critic(name: str, folder: Path, options: LoadOptions) -> "VideoCritic":
    """Load the critic in `folder`, which was asked for as `name`; everything its manifest says is checked.

    A plain Qwen-VL checkpoint without a manifest is a zero-shot critic. Raises InputError or CriticError.
    """
    from transformers import AutoConfig, AutoTokenizer

    from reward.critic import VideoCritic

    manifest = read_manifest(folder)
    adapter = folder / "adapter_config.json"
    base = _base_folder(read_json(adapter, "adapter config"), manifest, folder) if adapter.exists() else folder
    if not (base / "config.json").exists():
        raise InputError(f"critic {name}: {base} holds no config.json, so it is no model")
    if manifest is not None:
        check_weights(folder, manifest)
    try:
        config = AutoConfig.from_pretrained(base, local_files_only=True)
        tokens_from = folder if (folder / "tokenizer_config.json").exists() else base
        tokenizer = AutoTokenizer.from_pretrained(tokens_from, local_files_only=True)
        manifest = overridden(manifest or zero_shot_manifest(name, config, tokenizer, base), options)
        model = _load_model(base, folder if adapter.exists() else None, options)
    except (OSError, ValueError) as error:
        raise InputError(f"critic {name}: cannot be loaded: {' '.join(str(error).split())[:300]}") from None
    critic = VideoCritic(model, tokenizer, manifest, options)
    _check(critic, config.model_type, str(folder / FILE_NAME))
    return critic


def zero_shot_manifest(name: str, config: Any, tokenizer: Any, base: Path | None = None) -> Manifest:
    """Return the manifest of a model as it is: our wording, 16 frames, VideoVerse's frame size."""
    from reward.frontend import FAMILIES, FrontEnd
    from reward.tokens import answer_tokens

    if config.model_type not in FAMILIES:
        raise InputError(f"critic {name}: model type {config.model_type!r} is not one of {', '.join(FAMILIES)}")
    tokens = answer_tokens(tokenizer)
    pixels = FrontEnd.default_pixels(config.model_type)
    normalisation = _normalisation(base) if base else {}
    return Manifest(
        name=name,
        model_type=config.model_type,
        frames=FramesRecord(num_frames=16),
        pixels=PixelsRecord(**(dataclasses.asdict(pixels) | normalisation)),
        wording=WORDING_HASH,
        yes=tokens.yes,
        no=tokens.no,
        dimensions=NAMES,
    )


def _normalisation(base: Path) -> dict[str, tuple[float, ...]]:
    """Return mean and std from the checkpoint's own preprocessing file, if it has one."""
    for file in ("video_preprocessor_config.json", "preprocessor_config.json"):
        if (base / file).exists():
            record = read_json(base / file, "preprocessing file")
            if "image_mean" in record and "image_std" in record:
                return {"mean": tuple(record["image_mean"]), "std": tuple(record["image_std"])}
    return {}


def _base_folder(adapter: dict[str, Any], manifest: Manifest | None, folder: Path) -> Path:
    base = (manifest and manifest.base_model) or adapter.get("base_model_name_or_path")
    if not base:
        raise InputError(f"critic {folder}: the adapter does not say which base model it belongs to")
    if (folder / base).is_dir():
        return folder / base
    return find_folder(base, manifest.base_revision if manifest else None)


def overridden(manifest: Manifest, options: LoadOptions) -> Manifest:
    """Return the manifest with the frames and pixels that the options ask for instead."""
    frames = manifest.frames
    if options.num_frames is not None or options.video_fps is not None:
        frames = dataclasses.replace(frames, num_frames=options.num_frames, fps=options.video_fps)
    pixels = manifest.pixels
    if options.max_pixels is not None:
        least = min(pixels.min_pixels, options.max_pixels)
        pixels = dataclasses.replace(pixels, max_pixels=options.max_pixels, min_pixels=least)
    return dataclasses.replace(manifest, frames=frames, pixels=pixels)


def _load_model(base: Path, adapter: Path | None, options: LoadOptions) -> Any:
    import torch
    from transformers import AutoModelForImageTextToText

    dtype = torch.bfloat16 if torch_device(options.device).type == "cuda" else torch.float32
    model = AutoModelForImageTextToText.from_pretrained(
        base,
        dtype=dtype if options.dtype == "auto" else getattr(torch, options.dtype),
        attn_implementation=options.attn_implementation or "sdpa",
        use_safetensors=True,
        local_files_only=True,
    )
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter)
    return model.to(torch_device(options.device)).eval()


def place(model: Any, options: LoadOptions) -> Any:
    """Move a model that was built here to the device, number format and attention kernel of the options."""
    import torch

    if options.attn_implementation:
        model.set_attn_implementation(options.attn_implementation)
    dtype = torch.float32 if options.dtype == "auto" else getattr(torch, options.dtype)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)  # the rotary frequencies are buffers and stay exact
    return model.to(torch_device(options.device)).eval()


def torch_device(name: str) -> Any:
    """Return a torch device; auto is cuda, then mps, then cpu. InputError if it cannot be used here."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name!r} cannot be used here: {' '.join(str(error).split())[:200]}") from None
    return device


def _check(critic: "VideoCritic", model_type: str, where: str) -> None:
    manifest = critic.manifest
    same("model type", manifest.model_type, model_type, where)
    same("question wording", manifest.wording, WORDING_HASH, where)
    same("dimensions", manifest.dimensions, NAMES, where)
    same("Yes token ids", manifest.yes, critic.tokens.yes, where)
    same("No token ids", manifest.no, critic.tokens.no, where)
