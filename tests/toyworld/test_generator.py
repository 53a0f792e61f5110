"""The generator that ships: a stock pipeline, small, without pickle, and as good as its card says."""

import json
from importlib.metadata import EntryPoint

import numpy as np
import pytest
import torch

from toyworld.generator import SAMPLING, folder, sampling_defaults
from toyworld.grading import grade
from toyworld.repertoire import WORLD, split

MIB = 2**20


@pytest.fixture(scope="module")
def pipeline():
    from diffusers import DiffusionPipeline

    pipeline = DiffusionPipeline.from_pretrained(folder())
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def sample(pipeline, known, **settings):
    texts, generator = [each.text for each in known], torch.Generator().manual_seed(0)
    made = pipeline(texts, generator=generator, output_type="np", **SAMPLING | settings).frames
    frames = np.rint(np.asarray(made) * 255).astype(np.uint8)
    return [grade(each.toy_prompt.prompt, clip, WORLD.seconds) for each, clip in zip(known, frames, strict=True)]


def test_it_is_a_stock_pipeline_in_single_precision(pipeline):
    assert type(pipeline).__name__ == "WanPipeline"
    for part in (pipeline.vae, pipeline.transformer, pipeline.text_encoder):
        assert {parameter.dtype for parameter in part.parameters()} == {torch.float32}
    assert pipeline.tokenizer.model_max_length == SAMPLING["max_sequence_length"]
    assert (SAMPLING["num_frames"], SAMPLING["height"]) == (WORLD.frames, WORLD.size)


def test_it_is_small_and_holds_nothing_but_tensors_and_text():
    files = [path for path in folder().rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".md"}
    assert sum(path.stat().st_size for path in files) < 10 * MIB
    assert {path.name for path in folder().iterdir()} >= {"model_index.json", "training.json", "README.md"}


def test_its_clips_hold_together_and_are_half_right(pipeline):
    """The card's figures, with the room that 60 clips need."""
    grades = sample(pipeline, split("heldout") * 2)
    share = {name: np.mean([getattr(made, name) for made in grades]) for name in ("object", "coherent", "correct")}
    assert share["object"] >= 0.93
    assert share["coherent"] >= 0.75
    assert 0.25 <= share["correct"] <= 0.75


def test_guidance_follows_the_prompt_more_closely(pipeline):
    known = split("heldout")
    plain = np.mean([made.correct for made in sample(pipeline, known)])
    guided = np.mean([made.correct for made in sample(pipeline, known, guidance_scale=3.0)])
    assert guided > plain


def test_its_folder_says_how_to_sample_it(pipeline):
    assert json.loads((folder() / "sampling.json").read_text()) == sampling_defaults()
    assert sampling_defaults()["fps"] == WORLD.fps
    pipeline.scheduler.set_timesteps(SAMPLING["num_inference_steps"])
    assert pipeline.scheduler.sigmas[0] == 1
    assert pipeline.scheduler.sigmas[-2:].tolist() == pytest.approx([0.1, 0.0])


def test_it_is_found_by_name():
    point = EntryPoint("toyworld", "toyworld.generator:folder", "worldcritic.generators")
    assert point.load()() == folder()


def test_its_recipe_is_the_one_in_configs():
    from pathlib import Path

    from reward.config import load_yaml
    from toyworld.train_generator import Config

    config = load_yaml(Config, Path(__file__).parents[2] / "configs" / "toyworld" / "generator.yaml")
    recipe = json.loads((folder() / "training.json").read_text())["recipe"]
    assert {name: getattr(config, name) for name in recipe} == recipe
