"""Tiny pipelines of all four families, built from configs: real architectures, random weights, no download.

For tests, `worldcritic doctor` and trying things out; clips of 32 x 32 pixels and 9 frames. Each is saved as a folder
that the stock pipeline loads.
"""

from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rl.settings import Sampling, write_sampling

TOKENS = 16
"""Longest prompt in tokens."""
_WIDTH = 32
_WORDS = (
    "a the red blue green yellow ball square triangle falls rises moves left right up down and then to of in front "
    "behind jumps rolls slowly fast camera video"
)


def save_tiny(name: str, folder: Path, seed: int = 0) -> Path:
    """Build the tiny pipeline `name` (a key of TINY) and save it, with its sampling settings, into `folder`."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipe = TINY[name]()
        _spread(pipe)
    pipe.save_pretrained(folder)
    guidance = 6.0 if name == "hunyuan" else 1.0
    sampling = Sampling(
        num_frames=9, height=32, width=32, fps=8, steps=4, guidance=guidance, max_sequence_length=TOKENS
    )
    write_sampling(folder, sampling)
    return folder


def _spread(pipe: Any) -> None:
    """Give parameters that begin at zero, such as last layers and gates, a value, so that everything has an effect."""
    import torch

    for module in (pipe.transformer, pipe.components.get("transformer_2")):
        for parameter in module.parameters() if module is not None else ():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.05)


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(("<pad>", "</s>", "<unk>", *_WORDS.split()))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=512, **special)


def _umt5(vocabulary: int) -> Any:
    from transformers import UMT5Config, UMT5EncoderModel

    return UMT5EncoderModel(UMT5Config(vocab_size=vocabulary, is_decoder=False, **_T5))


_T5: dict[str, Any] = {
    "d_model": _WIDTH,
    "d_kv": 16,
    "d_ff": 64,
    "num_layers": 1,
    "num_heads": 2,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 32,
    "dropout_rate": 0.0,
    "pad_token_id": 0,
    "eos_token_id": 1,
}


def _wan_transformer() -> Any:
    from diffusers import WanTransformer3DModel

    return WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=24,
        in_channels=4,
        out_channels=4,
        text_dim=_WIDTH,
        freq_dim=32,
        ffn_dim=64,
        num_layers=2,
        cross_attn_norm=True,
        rope_max_seq_len=32,
    )


def _wan(**options: Any) -> Any:
    from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, WanPipeline

    tokenizer = _tokenizer()
    vae = AutoencoderKLWan(
        base_dim=4,
        z_dim=4,
        dim_mult=[1, 2, 2],
        num_res_blocks=1,
        temperal_downsample=[True, True],
        is_residual=True,
        patch_size=2,
        in_channels=12,
        out_channels=12,
        latents_mean=[0.1, -0.2, 0.3, 0.0],
        latents_std=[1.5, 0.5, 2.0, 1.0],
        scale_factor_temporal=4,
        scale_factor_spatial=8,
    )
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=2.0)
    return WanPipeline(tokenizer, _umt5(len(tokenizer)), vae, scheduler, _wan_transformer(), **options)


def _wan_a14b() -> Any:
    return _wan(transformer_2=_wan_transformer(), boundary_ratio=0.875)


def _wan_ti2v() -> Any:
    return _wan(expand_timesteps=True)


def _ltx() -> Any:
    from diffusers import (
        AutoencoderKLLTXVideo,
        FlowMatchEulerDiscreteScheduler,
        LTXPipeline,
        LTXVideoTransformer3DModel,
    )

    tokenizer = _tokenizer()
    vae = AutoencoderKLLTXVideo(
        latent_channels=4,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1, 1),
        patch_size=1,
    )
    vae.latents_mean.copy_(_moments([0.1, -0.2, 0.3, 0.0]))
    vae.latents_std.copy_(_moments([1.5, 0.5, 2.0, 1.0]))
    transformer = LTXVideoTransformer3DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=24,
        cross_attention_dim=48,
        num_layers=2,
        caption_channels=_WIDTH,
    )
    scheduler = FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True,
        base_shift=0.95,
        max_shift=2.05,
        base_image_seq_len=16,
        max_image_seq_len=64,
        shift_terminal=0.1,
    )
    return LTXPipeline(scheduler, vae, _t5(len(tokenizer)), tokenizer, transformer)


def _cogvideox(rotary: bool = False) -> Any:
    from diffusers import AutoencoderKLCogVideoX, CogVideoXDDIMScheduler, CogVideoXPipeline, CogVideoXTransformer3DModel

    tokenizer = _tokenizer()
    vae = AutoencoderKLCogVideoX(
        block_out_channels=(8, 8, 8, 8),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=4,
        sample_height=32,
        sample_width=32,
        scaling_factor=0.7,
    )
    transformer = CogVideoXTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=32,
        in_channels=4,
        out_channels=4,
        time_embed_dim=16,
        text_embed_dim=_WIDTH,
        num_layers=2,
        sample_width=4,
        sample_height=4,
        sample_frames=9,
        max_text_seq_length=TOKENS,
        use_rotary_positional_embeddings=rotary,
    )
    scheduler = CogVideoXDDIMScheduler(
        prediction_type="v_prediction",
        clip_sample=False,
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        snr_shift_scale=3.0,
    )
    return CogVideoXPipeline(tokenizer, _t5(len(tokenizer)), vae, transformer, scheduler)


def _cogvideox_5b() -> Any:
    return _cogvideox(rotary=True)


def _hunyuan(distilled: bool = True) -> Any:
    from diffusers import (
        AutoencoderKLHunyuanVideo,
        FlowMatchEulerDiscreteScheduler,
        HunyuanVideoPipeline,
        HunyuanVideoTransformer3DModel,
    )

    tokenizer = _tokenizer()
    vae = AutoencoderKLHunyuanVideo(
        latent_channels=4, block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4
    )
    transformer = HunyuanVideoTransformer3DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=24,
        num_layers=1,
        num_single_layers=1,
        num_refiner_layers=1,
        guidance_embeds=distilled,
        text_embed_dim=_WIDTH,
        pooled_projection_dim=_WIDTH,
        rope_axes_dim=(8, 8, 8),
    )
    scheduler = FlowMatchEulerDiscreteScheduler(shift=7.0)
    llama, clip = _llama(len(tokenizer)), _clip(len(tokenizer))
    return HunyuanVideoPipeline(llama, tokenizer, transformer, vae, scheduler, clip, _tokenizer())


def _hunyuan_undistilled() -> Any:
    return _hunyuan(distilled=False)


def _moments(values: list[float]) -> Any:
    import torch

    return torch.tensor(values)


def _t5(vocabulary: int) -> Any:
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(T5Config(vocab_size=vocabulary, is_decoder=False, **_T5))


_TEXT = MappingProxyType(
    {"hidden_size": _WIDTH, "intermediate_size": 64, "num_attention_heads": 2}
    | {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}
)
"""Sizes of both text encoders of HunyuanVideo."""


def _llama(vocabulary: int) -> Any:
    from transformers import LlamaConfig, LlamaModel

    return LlamaModel(LlamaConfig(vocab_size=vocabulary, num_hidden_layers=3, num_key_value_heads=2, **_TEXT))


def _clip(vocabulary: int) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(CLIPTextConfig(vocab_size=vocabulary, num_hidden_layers=1, **_TEXT))


TINY: dict[str, Callable[[], Any]] = {
    "wan": _wan,
    "wan_a14b": _wan_a14b,
    "wan_ti2v": _wan_ti2v,
    "ltx": _ltx,
    "cogvideox": _cogvideox,
    "cogvideox_5b": _cogvideox_5b,
    "hunyuan": _hunyuan,
    "hunyuan_undistilled": _hunyuan_undistilled,
}
"""Name -> builder: the four families, and variants that the adapter treats differently."""
