"""Make `frontend.json` and `frontend.npz` with the real video processors of transformers.

They need torchvision, which has no CPU build; with its files on the path and its operators declared first, its Python
parts import and the processors run: `PYTHONPATH=<folder with torchvision> python tests/golden/make_frontend.py`.
"""

import importlib.util
import json
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent
OPERATORS = ("nms", "qnms", "roi_align", "_roi_align_backward", "roi_pool", "_roi_pool_backward", "ps_roi_align",
             "_ps_roi_align_backward", "ps_roi_pool", "_ps_roi_pool_backward", "deform_conv2d",
             "_deform_conv2d_backward")  # fmt: skip

# frames, height, width, source frames per sampled frame, source fps
CLIPS = {
    "plain": (4, 64, 64, 2, 8.0),
    "shrunk": (6, 90, 122, 3, 24.0),
    "grown": (4, 20, 26, 1, 4.0),
    "wide_odd": (4, 37, 141, 5, 30000 / 1001),
    "slow": (8, 48, 80, 60, 30.0),
}
QUESTION = "Does the ball fall?"


def frames(name: str) -> np.ndarray:
    """Return smooth and noisy uint8 frames (T, H, W, 3), the same from the name alone."""
    count, height, width, *_ = CLIPS[name]
    t, y, x = np.meshgrid(np.arange(count), np.arange(height), np.arange(width), indexing="ij")
    waves = [np.sin(x / 5 + y / 9 * (c + 1) + t / 3) for c in range(3)]
    noise = np.random.default_rng(len(name)).normal(0, 0.3, (count, height, width, 3))
    return np.clip((np.stack(waves, axis=-1) + noise) * 80 + 128, 0, 255).astype(np.uint8)


def main() -> None:
    library = torch.library.Library("torchvision", "DEF")
    for operator in OPERATORS:
        library.define(f"{operator}(Tensor x) -> Tensor")
    from transformers import Qwen2_5_VLProcessor, Qwen2VLImageProcessorPil, Qwen3VLProcessor
    from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor
    from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor
    from transformers.video_utils import VideoMetadata

    from reward.tiny import tiny_model, tiny_tokenizer

    tokenizer = tiny_tokenizer()
    folder = Path(importlib.util.find_spec("trl").origin).parent / "chat_templates"
    golden: dict = {}
    arrays: dict = {}
    for family, processor_class, video_class in (
        ("qwen2_5_vl", Qwen2_5_VLProcessor, Qwen2VLVideoProcessor),
        ("qwen3_vl", Qwen3VLProcessor, Qwen3VLVideoProcessor),
    ):
        patch, least, most = 8, 32 * 32, 64 * 72
        template = (folder / f"{family}.jinja").read_text()
        for name, (count, _, _, stride, fps) in CLIPS.items():
            times = count if family == "qwen3_vl" else 1
            video_processor = video_class(
                patch_size=patch, size={"shortest_edge": least * times, "longest_edge": most * times},
                cap_pixels_per_frame=False, do_sample_frames=False,
            )  # fmt: skip
            processor = processor_class(Qwen2VLImageProcessorPil(patch_size=patch), tokenizer, video_processor,
                                        chat_template=template)  # fmt: skip
            message = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": QUESTION}]}]
            text = processor.apply_chat_template(message, add_generation_prompt=True)
            metadata = VideoMetadata(
                total_num_frames=count * stride, fps=fps, frames_indices=[i * stride for i in range(count)]
            )
            video = torch.from_numpy(frames(name)).permute(0, 3, 1, 2)
            made = processor(text=[text], videos=[video], video_metadata=[[metadata]], return_tensors="pt")
            model = tiny_model(family, tokenizer)
            timing = {"second_per_grid_ts": made["second_per_grid_ts"]} if "second_per_grid_ts" in made else {}
            positions, _ = model.model.get_rope_index(
                made["input_ids"], made["mm_token_type_ids"], video_grid_thw=made["video_grid_thw"], **timing
            )
            mean, std = torch.tensor(video_processor.image_mean), torch.tensor(video_processor.image_std)
            patches = made["pixel_values_videos"]
            levels = patches.view(len(patches), 3, -1) * std[:, None] + mean[:, None]
            arrays[f"{family}.{name}.levels"] = (levels * 255).round().to(torch.uint8).numpy()
            arrays[f"{family}.{name}.positions"] = positions[:, 0].to(torch.int32).numpy()
            golden[f"{family}.{name}"] = {
                "input_ids": made["input_ids"][0].tolist(),
                "grid": made["video_grid_thw"][0].tolist(),
                "text": processor.decode(made["input_ids"][0]),
                "sum": float(patches.double().sum()),
                "first": patches[0, :4].tolist(),
            }
    (HERE / "frontend.json").write_text(json.dumps(golden, indent=1))
    np.savez_compressed(HERE / "frontend.npz", **arrays)


if __name__ == "__main__":
    main()
