"""`worldcritic nft` through the console command: it learns what its critic pays for, and says what pays nothing."""

import json

import numpy as np
import pytest

STEPS = 32


@pytest.mark.parametrize(("critic", "sign"), [("likes_red", 1), ("hates_red", -1)])
def test_clips_become_what_the_critic_pays_for(data, tools, tmp_path, critic, sign):
    """Redness of held-out prompts' clips, the same seeds before and after: it moves the way that is paid for."""
    options = ["--critic", critic, "--judge", "likes_red", "--judge_prompts", data / "h.txt", "--judge_clips", 8]
    options += ["--group_size", 32, "--batch_size", 64, "--sample_batch", 64, "--steps", STEPS, "--judge_every", 1000]
    options += ["--lr", "1e-2", "--adv_clip", 1, "--old", "on_policy", "--lora_targets", "proj_out", "to_out.0"]
    assert tools.train("nft", data, tmp_path / "out", *options, "ffn.net.2") == 0
    before, after = (
        np.array([json.loads(line)["judge"] for line in path.read_text().splitlines()])
        for path in (tmp_path / f"out/samples/step-{step:06d}/scores.jsonl" for step in (0, STEPS))
    )
    gain = sign * (after - before)
    assert gain.mean() > 3 * gain.std(ddof=1) / np.sqrt(len(gain))
    assert gain.mean() > 0.1 * before.std()


def test_vector_rewards_and_a_reference_term_run(data, tools, tmp_path):
    assert tools.train("nft", data, tmp_path / "out", "--steps", 2, "--reward", "vector", "--kl", "0.1") == 0
    first, second = tools.log(tmp_path / "out")
    assert (first["ref_divergence"], first["old_divergence"]) == (0, 0)
    assert second["ref_divergence"] > 0
    assert {"reward/mechanics", "cells_floored", "batch_std"} <= first.keys()


def test_missing_rewards_and_groups_alike_are_masked_and_counted(data, tools, tmp_path, capsys):
    """Of two prompts one has no reward, or one without differences: only the other is learned from."""
    assert tools.train("nft", data, tmp_path / "silent", "--steps", 1, "--critic", "half_silent") == 0
    assert "4 of 8 clips have no reward: check 1" in capsys.readouterr().err
    row = tools.log(tmp_path / "silent")[0]
    assert (row["samples_missing"], row["groups_missing"], row["samples_masked"]) == (4, 1, 4)
    assert row["reward_mean"] > 0
    assert tools.train("nft", data, tmp_path / "flat", "--steps", 1, "--critic", "half_flat") == 0
    row = tools.log(tmp_path / "flat")[0]
    assert (row["groups_alike"], row["samples_missing"], row["samples_masked"]) == (1, 0, 4)


def test_a_round_without_any_reward_stops(data, tools, tmp_path, capsys):
    assert tools.train("nft", data, tmp_path / "out", "--critic", "silent") == 1
    error = capsys.readouterr().err
    assert "no clip of round 0 has a reward; 8 of 8" in error or "no clip of round 0 has a reward; 4 of 8" in error
    assert tools.log(tmp_path / "out") == []


def test_a_round_without_differences_is_passed_over(data, tools, tmp_path):
    prompts = tmp_path / "blue.jsonl"
    prompts.write_text((data / "p.jsonl").read_text().replace("red", "blue"))
    options = ["--prompts", prompts, "--critic", "half_flat", "--steps", 2, "--updates", 1]
    assert tools.train("nft", data, tmp_path / "out", *options) == 0
    rows = tools.log(tmp_path / "out")
    assert [row["groups_alike"] for row in rows] == [2, 2]
    assert all("loss" not in row and "grad_norm" not in row for row in rows)
    assert not any(tensor.any() for key, tensor in tools.lora(tmp_path / "out" / "last").items() if "lora_B" in key)


def test_rollouts_are_kept_with_their_rewards(data, tools, tmp_path):
    assert tools.train("nft", data, tmp_path / "out", "--steps", 2, "--updates", 1, "--keep_rollouts") == 0
    for number, logged in enumerate(tools.log(tmp_path / "out")):
        folder = tmp_path / "out" / "rollouts" / f"round-{number:05d}"
        rows = [json.loads(line) for line in (folder / "scores-0.jsonl").read_text().splitlines()]
        assert len({row["seed"] for row in rows}) == 8
        assert all((folder / row["video"]).exists() for row in rows)
        assert np.mean([row["reward"] for row in rows]) == pytest.approx(logged["reward_mean"])


def test_a_critic_is_needed(data, tools, tmp_path, capsys):
    from worldcritic import main

    options = ["--generator", data / "generator", "--prompts", data / "p.jsonl", "--out", tmp_path / "out"]
    assert main(["nft", *map(str, options)]) == 2
    assert "nft learns from a critic's rewards: --critic NAME" in capsys.readouterr().err
