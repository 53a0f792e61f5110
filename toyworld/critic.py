"""The embedded critic, `--critic toyworld`: a tiny Qwen3-VL that runs anywhere, offline.

It has random weights until one trained on toyworld ships with the package: it shows that everything runs, and its
scores mean nothing. Its manifest says so, and so does everything that prints its scores.
"""

from dataclasses import replace

from reward.manifest import FramesRecord, Manifest
from reward.model import RewardModel
from reward.options import LoadOptions

NUM_FRAMES = 8
MAX_PIXELS = 64 * 64
SEED = 0


def embedded(options: LoadOptions) -> RewardModel:
    """Return the embedded reward model, the same one every time."""
    from reward.critic import VideoCritic
    from reward.loading import overridden, place, zero_shot_manifest
    from reward.tiny import tiny_model, tiny_tokenizer

    tokenizer = tiny_tokenizer()
    model = tiny_model("qwen3_vl", tokenizer, seed=SEED)
    manifest = _tiny(zero_shot_manifest("toyworld", model.config, tokenizer))
    critic = VideoCritic(place(model, options), tokenizer, overridden(manifest, options), options)
    return RewardModel(critic, min_answer_mass=manifest.min_answer_mass)


def _tiny(manifest: Manifest) -> Manifest:
    pixels = replace(manifest.pixels, max_pixels=MAX_PIXELS, min_pixels=MAX_PIXELS // 4)
    frames = FramesRecord(num_frames=NUM_FRAMES)
    return replace(manifest, trained=False, min_answer_mass=0.0, pixels=pixels, frames=frames)
