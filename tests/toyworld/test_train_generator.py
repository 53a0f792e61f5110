"""The one command that trains the generator: whole, in stages that are kept, and with bad input."""

import json

import pytest
import torch

from toyworld.generator import SAMPLING
from toyworld.repertoire import WORLD, repertoire
from toyworld.train_generator import command

TINY = ("--vae_steps=1", "--vae_batch=2", "--text_steps=2", "--clips=4", "--steps=1", "--batch=4", "--layers=1")


def train(tmp_path, out, *more):
    return command([f"--out={tmp_path / out}", f"--work={tmp_path / 'work'}", *TINY, "--no_compile", *more])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generator")
    assert train(folder, "first") == 0
    return folder


def weights(path):
    return {file.relative_to(path): file.read_bytes() for file in path.rglob("*.safetensors")}


def test_the_result_is_a_stock_pipeline(trained):
    from diffusers import DiffusionPipeline

    pipeline = DiffusionPipeline.from_pretrained(trained / "first")
    pipeline.set_progress_bar_config(disable=True)
    assert type(pipeline).__name__ == "WanPipeline"
    settings = {**SAMPLING, "num_inference_steps": 2}
    made = pipeline([repertoire()[0].text], generator=torch.Generator().manual_seed(0), output_type="np", **settings)
    assert made.frames.shape == (1, WORLD.frames, WORLD.size, WORLD.size, 3)


def test_the_recipe_and_the_losses_stand_beside_it(trained):
    record = json.loads((trained / "first" / "training.json").read_text())
    assert record["recipe"]["vae_steps"] == 1
    assert list(record["stages"]) == ["text", "vae", "latents", "transformer"]
    assert json.loads((trained / "first" / "sampling.json").read_text())["max_sequence_length"] == 16
    assert json.loads((trained / "first" / "training.json.run.json").read_text())["versions"]["torch"]


def test_finished_stages_are_kept_and_unfinished_ones_done_again(trained):
    work = trained / "work"
    before = {name: (work / name).stat().st_mtime_ns for name in ("text", "vae", "latents")}
    for file in (work / "transformer").iterdir():
        file.unlink()
    (work / "transformer").rename(work / ".transformer.partial")
    assert train(trained, "second") == 0
    assert {name: (work / name).stat().st_mtime_ns for name in before} == before
    assert weights(trained / "second") == weights(trained / "first")


def test_another_recipe_and_a_full_folder_are_refused(trained, capsys):
    assert train(trained, "third", "--seed=1") == 2
    assert "holds stages of another recipe" in capsys.readouterr().err
    assert train(trained, "first") == 2
    assert "is not an empty folder" in capsys.readouterr().err
    assert not (trained / "third").exists()


def test_bad_options_fail_before_anything_is_written(tmp_path, capsys):
    assert train(tmp_path, "out", "--faithful=1.5") == 2
    assert "faithful" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_help(capsys):
    with pytest.raises(SystemExit) as caught:
        command(["--help"])
    assert caught.value.code == 0
    assert "python -m toyworld.train_generator" in capsys.readouterr().out
