"""Tiny Qwen2.5-VL and Qwen3-VL models and tokenizers, built from configs: no download, random weights.

For tests, benchmarks and the embedded critic: real architectures at a size that two CPU cores carry.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from reward.wording import CHECK, NO, NONE, ORDER, YES

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Family = Literal["qwen2_5_vl", "qwen3_vl"]

SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip

_QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_ANSWER_WEIGHT = 1000
"""How often the answers are repeated in the tokenizer's training text, so that each becomes one token."""


@dataclass(frozen=True)
class Size:
    """Widths and depths of a tiny model; `patch` is in pixels."""

    hidden: int = 128
    layers: int = 4
    heads: int = 4
    key_heads: int = 4
    mlp: int = 256
    vision_hidden: int = 64
    vision_layers: int = 2
    vision_heads: int = 4
    patch: int = 8


def tiny_tokenizer(texts: Iterable[str] = (), vocabulary: int = 1024) -> "PreTrainedTokenizerBase":
    """Train a byte-level BPE tokenizer, with Qwen's splitting rule and special tokens, on the given texts."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    answers = [*YES, *NO, NONE, *(f"A {chr(ord('A') + i)}" for i in range(26))]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_QWEN_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    template = [CHECK, ORDER, "<0.1 seconds>", "system\nuser\nassistant\nYou are a helpful assistant."] * 100
    tokenizer.train_from_iterator([*texts, *template, *answers * _ANSWER_WEIGHT], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL),
    )


def tiny_model(
    family: Family, tokenizer: "PreTrainedTokenizerBase", size: Size | None = None, seed: int = 0, gain: float = 1.0
) -> "PreTrainedModel":
    """Build a random model in evaluation mode, float32.

    A `gain` above 1 scales its matrices and its logits, so that answers depend on the input and spread out like those
    of a trained model.
    """
    import torch
    from transformers import AutoModelForImageTextToText

    config = _config(family, tokenizer, size or Size())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(gain)
        model.model.language_model.norm.weight.mul_(gain)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    return model.eval()


def _config(family: Family, tokenizer: "PreTrainedTokenizerBase", size: Size) -> Any:
    from transformers import Qwen2_5_VLConfig, Qwen3VLConfig

    ids = {name: int(tokenizer.convert_tokens_to_ids(f"<|{name}|>")) for name in ("image_pad", "video_pad", "im_end")}
    text: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": size.hidden,
        "intermediate_size": size.mlp,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.key_heads,
        "max_position_embeddings": 32768,
        "bos_token_id": None,
        "eos_token_id": ids["im_end"],
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": True,
    }
    special = {
        "image_token_id": ids["image_pad"],
        "video_token_id": ids["video_pad"],
        "vision_start_token_id": int(tokenizer.convert_tokens_to_ids("<|vision_start|>")),
        "vision_end_token_id": int(tokenizer.convert_tokens_to_ids("<|vision_end|>")),
        "tie_word_embeddings": True,
    }
    sections = _mrope_section(size.hidden // size.heads)
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": sections}
    vision: dict[str, Any] = {
        "depth": size.vision_layers,
        "hidden_size": size.vision_hidden,
        "intermediate_size": 2 * size.vision_hidden,
        "num_heads": size.vision_heads,
        "patch_size": size.patch,
        "temporal_patch_size": 2,
        "spatial_merge_size": 2,
        "out_hidden_size": size.hidden,
    }
    if family == "qwen2_5_vl":
        vision |= {"fullatt_block_indexes": [size.vision_layers - 1], "window_size": 8 * size.patch}
        vision |= {"tokens_per_second": 2}
        return Qwen2_5_VLConfig(text_config=text | {"rope_parameters": rope}, vision_config=vision, **special)
    text |= {"head_dim": size.hidden // size.heads, "rope_parameters": rope | {"mrope_interleaved": True}}
    vision |= {"num_position_embeddings": 256, "deepstack_visual_indexes": [0]}
    return Qwen3VLConfig(text_config=text, vision_config=vision, **special)


def _mrope_section(head_dim: int) -> Sequence[int]:
    """Return how many rotary frequencies carry time, height and width: about a third each."""
    half = head_dim // 2
    return [half - 2 * (half // 3), half // 3, half // 3]
