"""`worldcritic dpo` through the console command, on tiny generators of all families."""

import json
import math
import shutil

import numpy as np
import pytest
import torch


@pytest.mark.parametrize("name", ["wan", "wan_a14b", "ltx", "cogvideox", "hunyuan"])
def test_every_family_takes_a_step_that_begins_at_log_2(made, tools, tmp_path, name):
    """The adapter begins as nothing: policy and reference agree to the bit, whatever the labels."""
    assert tools.train("dpo", made(name), tmp_path / "out", "--steps", 2, "--lr", "1e-3", "--lora_r", 2) == 0
    first, second = tools.log(tmp_path / "out")
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert (first["logits"], first["delta_w"], first["implicit_accuracy"]) == (0, 0, 0.5)
    assert second["logits"] != 0
    assert first["grad_norm"] > 0
    adapter = tools.lora(tmp_path / "out" / "last")
    assert any(tensor.any() for key, tensor in adapter.items() if "lora_B" in key), "the adapter has learned nothing"
    if name == "wan_a14b":
        assert {"mse/transformer", "mse/transformer_2"} & first.keys()
        assert (tmp_path / "out" / "last" / "transformer_2_lora_weights.safetensors").exists()


def test_winners_become_likelier_than_losers(data, tools, tmp_path):
    assert tools.train("dpo", data, tmp_path / "out", "--steps", 25, "--lr", "3e-3", "--labels", "hard") == 0
    rows = tools.log(tmp_path / "out")
    late = rows[-8:]
    assert np.mean([row["implicit_accuracy"] for row in late]) > 0.8
    assert np.mean([row["loss"] for row in late]) < 0.6 < rows[0]["loss"]
    assert np.mean([row["delta_w"] - row["delta_l"] for row in late]) < 0


def test_an_anchor_keeps_the_winners_error_down(data, tools, tmp_path):
    rise = {}
    for anchor in (0, 5):
        out = tmp_path / str(anchor)
        assert tools.train("dpo", data, out, "--steps", 20, "--lr", "1e-2", "--anchor", anchor, "--labels", "hard") == 0
        rise[anchor] = np.mean([row["winner_rise"] for row in tools.log(out)[5:]])
    assert rise[5] < 0.5 * rise[0]


def test_soft_labels_are_the_pairs_probabilities(data, tools, tmp_path):
    """With P = .5 for every pair nothing is to be preferred: the gradient at the start is exactly zero."""
    pairs = tmp_path / "pairs"
    shutil.copytree(data / "pairs", pairs)
    rows = [json.loads(line) | {"probability": 0.5} for line in (pairs / "metadata.jsonl").read_text().splitlines()]
    (pairs / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert tools.train("dpo", data, tmp_path / "soft", "--steps", 1, "--pairs", pairs) == 0
    assert tools.train("dpo", data, tmp_path / "hard", "--steps", 1, "--pairs", pairs, "--labels", "hard") == 0
    assert tools.log(tmp_path / "soft")[0]["grad_norm"] < 1e-6 < tools.log(tmp_path / "hard")[0]["grad_norm"]


def test_the_saved_adapter_loads_in_the_stock_pipeline(data, tools, tmp_path):
    """What the stock pipeline makes with the saved adapter is what the trained generator makes."""
    from diffusers import WanPipeline

    assert tools.train("dpo", data, tmp_path / "out", "--steps", 4, "--lr", "1e-2") == 0
    stock = WanPipeline.from_pretrained(data / "generator")
    latents, steps = torch.randn(1, 4, 3, 4, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([500.0])
    text = torch.randn(1, 16, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        base = stock.transformer(latents, steps, text, return_dict=False)[0]
        stock.load_lora_weights(tmp_path / "out" / "last")
        tuned = stock.transformer(latents, steps, text, return_dict=False)[0]
    assert (tuned - base).abs().max() > 1e-3
    adapter = tools.lora(tmp_path / "out" / "last")
    a, b = (next(t for key, t in adapter.items() if f"blocks.0.attn1.to_v.lora_{x}" in key) for x in "AB")
    layer = stock.transformer.blocks[0].attn1.to_v
    x = torch.randn(2, 48)
    with torch.no_grad():
        assert torch.allclose(layer(x), layer.base_layer(x) + 2 * (x @ a.T) @ b.T, atol=1e-5), "alpha is twice r"


def test_pairs_that_are_not_among_the_rollouts_are_refused(data, tools, tmp_path, capsys):
    pairs = tmp_path / "pairs"
    shutil.copytree(data / "pairs", pairs)
    rows = [json.loads(line) for line in (pairs / "metadata.jsonl").read_text().splitlines()]
    rows[0]["chosen_sha256"] = "0" * 64
    (pairs / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert tools.train("dpo", data, tmp_path / "out", "--pairs", pairs) == 2
    error = capsys.readouterr().err
    assert f"video {rows[0]['chosen_video']} of prompt {rows[0]['prompt_id']} is not in the rollouts" in error
    assert not (tmp_path / "out").exists()


def test_rollouts_of_another_generator_are_refused(data, tools, tmp_path, capsys):
    from rl.tiny import save_tiny

    save_tiny("wan", tmp_path / "other", seed=1)
    assert tools.train("dpo", data, tmp_path / "out", "--generator", tmp_path / "other") == 2
    assert "made by another generator: fingerprint" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_latents_of_another_shape_and_no_numbers_are_refused(data, tools, tmp_path, capsys):
    from safetensors.torch import save_file

    store = tmp_path / "rollouts"
    shutil.copytree(data / "rollouts", store)
    name = json.loads((data / "pairs" / "metadata.jsonl").read_text().splitlines()[0])["chosen_video"]
    path = (store / name).with_suffix(".safetensors")
    save_file({"latents": torch.zeros(4, 3, 4, 6)}, path)
    assert tools.train("dpo", data, tmp_path / "out", "--rollouts", store, "--steps", 4) == 2
    assert "a clip of this store has latents (4, 3, 4, 4)" in capsys.readouterr().err
    save_file({"latents": torch.full((4, 3, 4, 4), torch.nan)}, path)
    assert tools.train("dpo", data, tmp_path / "out", "--rollouts", store, "--steps", 4, "--overwrite") == 2
    assert "holds latents that are no numbers" in capsys.readouterr().err


def test_a_loss_that_is_no_number_stops_and_names_the_batch(data, tools, tmp_path, capsys):
    code = tools.train("dpo", data, tmp_path / "out", "--steps", 9, "--lr", "1e20", "--max_grad_norm", "1e20")
    assert code == 1
    error = capsys.readouterr().err
    assert "of step 2 is nan" in error or "of step 2 is inf" in error
    assert "p1 (p1/" in error or "gradient of step" in error


def test_a_dry_run_counts_tries_and_writes_nothing(data, tools, tmp_path, capsys):
    assert tools.train("dpo", data, tmp_path / "out", "--dry_run", "--steps", 100, "--limit", 3) == 0
    out = capsys.readouterr().out
    assert "dry run: 3 pairs of" in out
    assert "100 steps of 4" in out
    assert not (tmp_path / "out").exists()
