"""The loop that dpo, rwr and nft share, through the console command: resume, judging, folders, bad input."""

import json
import shutil

import numpy as np
import pytest
import torch

VERBS = ("dpo", "rwr", "nft")


@pytest.mark.parametrize("verb", VERBS)
def test_a_killed_run_goes_on_to_the_same_bits(data, tools, tmp_path, verb):
    """Seven steps at once, and four, a kill that loses work after the checkpoint, and the rest: equal to the bit.

    nft is cut in the middle of a round; the moving average and the log take part, with rwr also the judge.
    """
    options = ["--lr", "1e-3", "--ema", "0.8", "--save_every", 2, "--weight_decay", "0.1"]
    judge = ["--judge", "likes_red", "--judge_prompts", data / "h.txt", "--judge_every", 6, "--judge_clips", 2]
    options += {"dpo": ["--accumulate", 2], "rwr": judge, "nft": ["--updates", 3]}[verb]
    assert tools.train(verb, data, tmp_path / "whole", *options, "--steps", 7) == 0
    assert tools.train(verb, data, tmp_path / "parts", *options, "--steps", 5) == 0
    shutil.rmtree(tmp_path / "parts" / "checkpoints" / "step-000005")
    assert tools.train(verb, data, tmp_path / "parts", *options, "--steps", 7, "--resume") == 0
    for name in ("last", "best")[: 1 + (verb == "rwr")]:
        whole, parts = (tools.lora(tmp_path / each / name) for each in ("whole", "parts"))
        assert whole.keys() == parts.keys()
        assert all(torch.equal(whole[key], parts[key]) for key in whole), name
    rows = [
        [{key: value for key, value in row.items() if key != "seconds"} for row in tools.log(tmp_path / each)]
        for each in ("whole", "parts")
    ]
    assert rows[0] == rows[1]
    assert [row["step"] for row in rows[0]] == [1, 2, 3, 4, 5, 6, 7]
    if verb == "rwr":
        pages = [json.loads((tmp_path / each / "training.json").read_text()) for each in ("whole", "parts")]
        assert pages[0] == pages[1]
        assert [point["step"] for point in pages[0]["points"]] == [0, 6, 7]


def test_accumulated_batches_equal_one_large_batch(data, tools, tmp_path):
    options = ["--steps", 3, "--labels", "hard"]
    assert tools.train("dpo", data, tmp_path / "large", *options, "--batch_size", 4) == 0
    assert tools.train("dpo", data, tmp_path / "small", *options, "--batch_size", 1, "--accumulate", 4) == 0
    for name in ("loss", "grad_norm"):
        large, small = ([row[name] for row in tools.log(tmp_path / each)] for each in ("large", "small"))
        assert large == pytest.approx(small, rel=1e-3, abs=1e-6), name


def test_gradient_checkpointing_changes_nothing(data, tools, tmp_path):
    assert tools.train("rwr", data, tmp_path / "plain", "--steps", 2) == 0
    assert tools.train("rwr", data, tmp_path / "saved", "--steps", 2, "--gradient_checkpointing") == 0
    plain, saved = tools.lora(tmp_path / "plain" / "last"), tools.lora(tmp_path / "saved" / "last")
    assert max(float((plain[key] - saved[key]).abs().max()) for key in plain) < 1e-6


def test_samples_are_judged_and_the_best_by_the_judge_is_kept(data, tools, tmp_path, capsys):
    options = ["--critic", "hates_red", "--judge", "likes_red", "--judge_prompts", data / "h.txt"]
    options += ["--judge_every", 2, "--judge_clips", 2, "--steps", 6, "--lr", "1e-2"]
    assert tools.train("rwr", data, tmp_path / "out", *options) == 0
    said = capsys.readouterr().err
    points = json.loads((tmp_path / "out" / "training.json").read_text())["points"]
    assert [point["step"] for point in points] == [0, 2, 4, 6]
    assert points[0]["drift"] == 0 < points[-1]["drift"]
    assert all(point["reward"] == pytest.approx(1 - point["judge"], abs=1e-6) for point in points)
    best = max(points[1:], key=lambda point: point["judge"])
    assert f"best adapter by the judge: {tmp_path / 'out' / 'best'}, step {best['step']}" in said
    scores = [json.loads(line) for line in (tmp_path / "out/samples/step-000006/scores.jsonl").read_text().splitlines()]
    assert len(scores) == 4
    assert np.mean([row["judge"] for row in scores]) == pytest.approx(points[-1]["judge"])
    assert all(
        (tmp_path / f"out/samples/step-000000/{row['prompt_id']}/{row['number']:03d}.mp4").exists() for row in scores
    )
    assert (tmp_path / "out" / "training.png").read_bytes().startswith(b"\x89PNG")
    record = json.loads((tmp_path / "out" / "rwr.run.json").read_text())
    assert record["judge"]["name"] == "fake"
    assert set(record["inputs"]) == {"scores", "rollouts", "judge_prompts"}


def test_stopping_on_hacking_leaves_with_3(data, tools, tmp_path, capsys):
    """An alarm that must ring: motion may not fall below its first value at all."""
    options = ["--judge_prompts", data / "h.txt", "--judge_every", 1, "--judge_clips", 2, "--lr", "3e-2"]
    options += ["--least_motion", "1", "--least_diversity", "1", "--on_hacking", "stop", "--steps", 12]
    assert tools.train("rwr", data, tmp_path / "out", *options) == 3
    said = capsys.readouterr().err
    assert "hacking monitor, step" in said
    assert "no best adapter is chosen" in said
    page = json.loads((tmp_path / "out" / "training.json").read_text())
    assert list(page["alarms"]) == [str(page["points"][-1]["step"])]
    assert len(tools.log(tmp_path / "out")) == page["points"][-1]["step"] < 12
    assert (tmp_path / "out" / "last" / "lora.json").exists()


def test_an_earlier_run_is_neither_mixed_up_nor_lost(data, tools, tmp_path, capsys):
    out = tmp_path / "out"
    assert tools.train("rwr", data, out, "--resume") == 2
    assert "holds no run of `worldcritic rwr`" in capsys.readouterr().err
    assert tools.train("rwr", data, out, "--steps", 2, "--save_every", 1, "--keep", 1) == 0
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["step-000002"]
    capsys.readouterr()
    assert tools.train("rwr", data, out, "--steps", 3) == 2
    assert "go on with --resume, or start over with --overwrite" in capsys.readouterr().err
    assert tools.train("rwr", data, out, "--steps", 3, "--resume", "--lr", "1e-2") == 2
    assert "--resume: lr was 0.0001" in capsys.readouterr().err
    assert tools.train("rwr", data, out, "--steps", 1, "--overwrite") == 0
    assert len(tools.log(out)) == 1
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    assert tools.train("rwr", data, tmp_path / "mine", "--overwrite") == 2
    assert "holds files that are no run" in capsys.readouterr().err
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_options_that_need_another_one_say_so(data, tools, tmp_path, capsys):
    assert tools.train("dpo", data, tmp_path / "out", "--judge", "likes_red") == 2
    assert "--judge needs held-out prompts to sample: --judge_prompts FILE" in capsys.readouterr().err
    held_out = ["--judge_prompts", data / "h.txt"]
    assert tools.train("dpo", data, tmp_path / "out", *held_out, "--detector", "nobody") == 2
    assert "detector 'nobody' is not installed; short names are: oracle" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_tensorboard_gets_the_log(data, tools, tmp_path):
    assert tools.train("rwr", data, tmp_path / "out", "--steps", 2, "--report_to", "tensorboard") == 0
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(next((tmp_path / "out" / "worldcritic").glob("events*")).parent)).Reload()
    logged = [event.value for event in events.Scalars("loss")]
    assert logged == pytest.approx([row["loss"] for row in tools.log(tmp_path / "out")])


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_two_processes_equal_one_with_twice_the_batch(data, tools, tmp_path, verb):
    """The same positions, hence the same clips, noise and times; nft's groups are split between the processes."""
    options = ["--steps", 3, "--lr", "1e-4", "--judge_prompts", data / "h.txt", "--judge_clips", 2]
    options += ["--judge", "likes_red"]
    assert tools.train(verb, data, tmp_path / "one", *options, "--batch_size", 4) == 0
    done = tools.launch(verb, data, tmp_path / "two", *options, "--batch_size", 2)
    assert done.returncode == 0, done.stderr
    one, two = (tools.log(tmp_path / each) for each in ("one", "two"))
    assert len(one) == len(two) == 3
    if verb == "nft":  # each process learns from its own groups, in its own order: not the same batches
        assert [row["reward_mean"] for row in one] == pytest.approx([row["reward_mean"] for row in two], abs=1e-5)
    else:
        for name in ("loss", "grad_norm"):
            assert [row[name] for row in one] == pytest.approx([row[name] for row in two], rel=1e-3), name
    points = [json.loads((tmp_path / each / "training.json").read_text())["points"] for each in ("one", "two")]
    for name in ("motion", "judge", "diversity"):
        one, two = ([point[name] for point in each] for each in points)
        assert one == pytest.approx(two, rel=1e-3), name
