"""`worldcritic rwr` through the console command: what was paid better is matched better."""

import json

import numpy as np


def rewrite(data, path, change):
    rows = [json.loads(line) for line in (data / "scores.jsonl").read_text().splitlines()]
    path.write_text("".join(json.dumps(row | (change(row) or {})) + "\n" for row in rows))
    return rows


def test_weights_follow_the_rewards(data, tools, tmp_path):
    """By hand: a = (r - mean of the prompt) / s, w = exp(a / tau), effective sample size (sum w)^2 / sum w^2."""
    rows = rewrite(data, tmp_path / "s.jsonl", lambda row: None)
    assert tools.train("rwr", data, tmp_path / "out", "--steps", 1, "--tau", "0.7", "--max_weight", "1e6") == 0
    rewards = np.array([row["reward"] for row in rows], np.float64).reshape(2, -1)
    deviations = rewards - rewards.mean(axis=1, keepdims=True)
    w = np.exp(deviations / np.sqrt((deviations**2).mean()) / 0.7).ravel()
    first = tools.log(tmp_path / "out")[0]
    assert abs(first["ess"] - w.sum() ** 2 / (w**2).sum()) < 1e-3
    assert first["clipped"] == 0


def test_learning_lowers_the_weighted_error(data, tools, tmp_path):
    """Beside a run that hardly learns: both draw the same clips, noise and times."""
    losses = {}
    for lr in ("1e-9", "1e-2"):
        options = ["--steps", 30, "--lr", lr, "--batch_size", 12, "--lora_targets", "proj_out", "to_out.0"]
        assert tools.train("rwr", data, tmp_path / lr, *options) == 0
        losses[lr] = np.array([row["loss"] for row in tools.log(tmp_path / lr)])
    assert (losses["1e-2"] < losses["1e-9"])[-10:].all()
    assert losses["1e-2"][-10:].mean() < 0.95 * losses["1e-9"][-10:].mean()


def test_clips_that_say_nothing_are_left_out_and_counted(data, tools, tmp_path, capsys):
    rows = rewrite(data, tmp_path / "s.jsonl", lambda row: {"reward": 0.5} if row["prompt_id"] == "p2" else None)
    assert tools.train("rwr", data, tmp_path / "out", "--steps", 1, "--scores", tmp_path / "s.jsonl") == 0
    said = capsys.readouterr().err
    assert f"6 of {len(rows)} clips say something: 0 prompts have no reward, in 1 all are alike" in said
    gone = {"reward": None, "status": "error", "error": "too dark"}
    rewrite(data, tmp_path / "t.jsonl", lambda row: gone)
    assert tools.train("rwr", data, tmp_path / "other", "--steps", 1, "--scores", tmp_path / "t.jsonl") == 2
    assert "no sample has an advantage" in capsys.readouterr().err


def test_vector_rewards_run(data, tools, tmp_path):
    assert tools.train("rwr", data, tmp_path / "out", "--steps", 1, "--reward", "vector") == 0
    assert 1 <= tools.log(tmp_path / "out")[0]["ess"] <= 12


def test_scores_of_other_videos_are_refused(data, tools, tmp_path, capsys):
    rewrite(data, tmp_path / "s.jsonl", lambda row: {"sha256": "0" * 64})
    assert tools.train("rwr", data, tmp_path / "out", "--scores", tmp_path / "s.jsonl") == 2
    assert "is not in the rollouts" in capsys.readouterr().err
