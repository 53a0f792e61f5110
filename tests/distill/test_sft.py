"""`worldcritic sft` through the console command, with tiny models."""

import json
import os
import shutil
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from transformers import AutoModelForImageTextToText

from reward import RewardModel
from reward.prompts import Check, Prompt
from reward.tiny import tiny_model
from reward.video import write_video
from reward.wording import order_text
from worldcritic import main

one_family = pytest.mark.parametrize("model", ["qwen3_vl"], indirect=True)

EVENTS = ["It gets bright.", "It gets dark."]


def make_rows(folder, count, start):
    """Bright or dark clips, and questions that tell them apart."""
    rows = []
    for i in range(start, start + count):
        bright = i % 2 == 0
        rng = np.random.default_rng(i)
        frames = rng.integers(0, 60, (8, 32, 32, 3), dtype=np.uint8) + (190 if bright else 0)
        name = f"v{i:03d}.mp4"
        write_video(folder / name, frames.astype(np.uint8), fps=8)
        common = {"video_path": name, "t2v_prompt": f"A prompt, number {i}.", "prompt_id": f"p{i:03d}"}
        rows.append(
            {**common, "dimension": "Mechanics", "question": "Is it bright?", "target": "Yes" if bright else "No"}
        )
        rows.append({**common, "dimension": "3d_depth", "question": "Is it dark?", "target": "No" if bright else "Yes"})
        order = {"question": order_text(EVENTS), "events": EVENTS, "target": "A" if bright else "B"}
        rows.append({**common, "dimension": "event_following", **order})
    return rows


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def data(tmp_path, tokenizer, model):
    write(tmp_path / "train.jsonl", make_rows(tmp_path, 12, 0))
    write(tmp_path / "validation.jsonl", make_rows(tmp_path, 4, 100))
    model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    return tmp_path


def sft(data, *more, out="run"):
    fixed = ["--model", str(data / "base"), "--train_file", str(data / "train.jsonl"), "--videos", str(data)]
    small = ["--video_frames", "4", "--max_pixels", "1024", "--device", "cpu", "--workers", "0", "--report_to", "none"]
    return main(["sft", *fixed, *small, "--out", str(data / out), *more])


def test_a_critic_learns_is_saved_and_scores(data, capsys):
    """What could not be told apart before is told apart after, on videos that were not trained on."""
    assert sft(data, "--lr", "1e-3", "--epochs", "10", "--eval_steps", "10", "--batch_size", "4") == 0
    table = capsys.readouterr().err
    assert "mechanics" in table
    critic = RewardModel.from_pretrained(data / "run" / "critic", device="cpu", min_answer_mass=0)
    assert critic.identity["trained"]
    prompt = Prompt("p", "x", tuple(EVENTS), (Check("mechanics", "Is it bright?"), Check("depth_3d", "Is it dark?")))
    names = [data / "v100.mp4", data / "v101.mp4"]
    bright, dark = critic.score_files(names, [prompt, prompt])
    assert bright.answers[0].p_yes > 0.8 > 0.2 > dark.answers[0].p_yes
    assert bright.answers[1].p_yes < 0.2 < 0.8 < dark.answers[1].p_yes
    assert (bright.order.best, dark.order.best) == ("A", "B")
    assert min(answer.answer_mass for answer in bright.answers) > 0.9
    record = json.loads((data / "run" / "critic" / "training.json").read_text())
    assert len(record["prompt_ids"]) == len(record["video_sha256"]) == 12
    card = (data / "run" / "critic" / "README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert (head["library_name"], "base_model" in head) == ("transformers", False), "a local folder is no hub model"
    assert "36 rows about 12 videos of 12 prompts." in card
    assert "| mechanics | 12 | 6 | 6 | 12.0 |" in card
    assert "| depth_3d | 4 | " in card
    assert "Not trained on: interaction, material_properties" in card
    assert "| lr | 0.001 |" in card
    assert "| steps | 30 |" in card
    shown = [line.split() for line in table.splitlines() if line.startswith(("all ", "mechanics "))]
    for count, (name, nll, right) in zip((12, 4), shown, strict=True):
        assert f"| {name} | {count} | {nll} | {right} |" in card
    assert "Not calibrated" in card


@one_family
def test_lora_saves_an_adapter_on_its_base(data):
    assert sft(data, "--lora", "--lora_r", "4", "--lr", "1e-3", "--max_steps", "2", "--eval_steps", "2") == 0
    folder = data / "run" / "critic"
    assert (folder / "adapter_model.safetensors").exists()
    assert not (folder / "model.safetensors").exists()
    manifest = json.loads((folder / "worldcritic.json").read_text())
    assert manifest["base_model"] == str(data / "base")
    assert RewardModel.from_pretrained(folder, device="cpu").identity["trained"]
    card = (folder / "README.md").read_text()
    assert yaml.safe_load(card.split("---")[1])["library_name"] == "peft"
    assert "| lora_r | 4 |" in card


def weights(folder):
    from safetensors.torch import load_file

    return load_file(folder / "critic" / "model.safetensors")


@one_family
def test_resuming_gives_the_same_weights_to_the_bit(data):
    (data / "validation.jsonl").unlink()
    steps = ["--lr", "1e-3", "--eval_steps", "2", "--batch_size", "3", "--epochs", "2"]
    assert sft(data, *steps, out="whole") == 0
    assert sft(data, *steps, out="parts") == 0
    for path in (data / "parts").glob("checkpoint-*"):
        if not path.name.endswith("-6"):
            continue
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    assert sft(data, *steps, "--resume", out="parts") == 0
    whole, parts = weights(data / "whole"), weights(data / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@one_family
def test_the_best_weights_are_saved_not_the_last(data):
    steps = ["--lr", "0.03", "--eval_steps", "1", "--max_steps", "6", "--keep", "9", "--batch_size", "4"]
    assert sft(data, *steps) == 0
    folders = list((data / "run").glob("checkpoint-*"))
    state = json.loads((max(folders, key=lambda path: int(path.name[11:])) / "trainer_state.json").read_text())
    nll = {entry["step"]: entry["eval_nll"] for entry in state["log_history"] if "eval_nll" in entry}
    best = min(nll, key=nll.__getitem__)
    assert best != max(nll), "the run did not get worse at its end, so it proves nothing"
    saved = AutoModelForImageTextToText.from_pretrained(data / "run" / f"checkpoint-{best}")
    kept = AutoModelForImageTextToText.from_pretrained(data / "run" / "critic").state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in saved.state_dict().items())


@one_family
def test_accumulating_batches_equals_one_large_batch(data):
    (data / "validation.jsonl").unlink()
    assert sft(data, "--lr", "1e-3", "--max_steps", "1", "--batch_size", "4", out="large") == 0
    assert sft(data, "--lr", "1e-3", "--max_steps", "1", "--accumulate", "4", out="small") == 0
    large, small = weights(data / "large"), weights(data / "small")
    worst = max(float((large[name] - small[name]).abs().max()) for name in large)
    assert worst <= 1e-5


@one_family
def test_a_loss_that_is_no_number_stops_and_names_the_videos(data, capsys):
    from safetensors.torch import load_file, save_file

    broken = load_file(data / "base" / "model.safetensors")
    name = next(name for name in broken if "norm" in name)
    broken[name] = broken[name] * float("nan")
    save_file(broken, data / "base" / "model.safetensors", metadata={"format": "pt"})
    assert sft(data) == 1
    error = capsys.readouterr().err
    assert "loss of step 1 is nan" in error
    assert ".mp4" in error


@one_family
def test_bad_input_is_one_clear_line(data, capsys):
    assert sft(data, "--train_file", str(data / "gone.jsonl")) == 2
    assert "training file" in capsys.readouterr().err
    assert sft(data, "--videos", str(data / "base")) == 2
    assert "v000.mp4 does not exist (16 of 16 videos are missing)" in capsys.readouterr().err
    write(data / "validation.jsonl", make_rows(data, 1, 0))
    assert sft(data) == 2
    assert "in the training and in the validation file" in capsys.readouterr().err
    (data / "validation.jsonl").unlink()
    (data / "run" / "checkpoint-3").mkdir(parents=True)
    assert sft(data) == 2
    assert "--resume" in capsys.readouterr().err
    assert sft(data, "--resume", out="other") == 2
    assert "holds no checkpoint" in capsys.readouterr().err


@one_family
def test_orders_can_be_learned_by_score_alone(data):
    """E[LCS] / n comes near the teacher's share, though no letter was spelled out."""
    for name in ("train", "validation"):
        rows = [json.loads(line) for line in (data / f"{name}.jsonl").read_text().splitlines()]
        orders = [row for row in rows if "events" in row]
        write(data / f"{name}.jsonl", [row | {"target": "A B" if row["target"] == "A" else "None"} for row in orders])
    (data / "validation.jsonl").unlink()
    assert sft(data, "--order_loss", "lcs", "--lr", "3e-4", "--epochs", "8", "--batch_size", "4") == 0
    names, prompt = [data / "v100.mp4", data / "v101.mp4"], Prompt("p", "x", tuple(EVENTS), ())
    critic = RewardModel.from_pretrained(data / "run" / "critic", device="cpu", min_answer_mass=0)
    bright, dark = (reward.order.expected_lcs / 2 for reward in critic.score_files(names, [prompt, prompt]))
    assert bright > 0.8 > 0.2 > dark


@one_family
def test_an_order_without_its_events_cannot_be_learned_by_score(data, capsys):
    rows = [{**make_rows(data, 1, 0)[2], "question": "In which order?", "events": None}]
    write(data / "train.jsonl", rows)
    assert sft(data, "--order_loss", "both") == 2
    assert "train.jsonl:1: the order question does not say its 'events'" in capsys.readouterr().err


@pytest.fixture(scope="module")
def shared(tmp_path_factory, tokenizer):
    """Data and base for runs of one and of two processes; five validation videos do not part evenly among two."""
    folder = tmp_path_factory.mktemp("sft")
    write(folder / "train.jsonl", make_rows(folder, 12, 0))
    write(folder / "validation.jsonl", make_rows(folder, 5, 100))
    tiny_model("qwen3_vl", tokenizer, gain=4.0).save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    return folder


def launch(data, out, processes, *more):
    """Run the verb as torchrun and accelerate launch do; return what each process printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "GLOO_SOCKET_IFNAME": "lo"}
    fixed = ["--model", str(data / "base"), "--train_file", str(data / "train.jsonl"), "--videos", str(data)]
    small = ["--video_frames", "4", "--max_pixels", "1024", "--device", "cpu", "--workers", "0", "--report_to", "none"]
    command = [sys.executable, "-m", "worldcritic", "sft", *fixed, *small, "--out", str(data / out), *more]
    ranks = [{"RANK": str(i), "LOCAL_RANK": str(i), "WORLD_SIZE": str(processes)} for i in range(processes)]
    started = [
        subprocess.Popen(
            command,
            env={**os.environ, "OMP_NUM_THREADS": "1", **(address | rank if processes > 1 else {})},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ranks
    ]
    said = [process.communicate(timeout=280)[1] for process in started]
    assert [process.returncode for process in started] == [0] * processes, said[0][-2000:]
    return said


def history(data, out, step):
    state = json.loads((data / out / f"checkpoint-{step}" / "trainer_state.json").read_text())
    return [entry for entry in state["log_history"] if "eval_nll" in entry]


STEPS = ("--lr", "1e-3", "--max_steps", "2", "--eval_steps", "1", "--keep", "9")


@pytest.fixture(scope="module")
def one(shared):
    launch(shared, "one", 1, *STEPS, "--batch_size", "4")


@pytest.fixture(scope="module")
def two(shared):
    return launch(shared, "two", 2, *STEPS, "--batch_size", "2")


@pytest.mark.slow
def test_two_processes_train_as_one(one, two, shared):
    for expected, found in zip(history(shared, "one", 2), history(shared, "two", 2), strict=True):
        for name, value in expected.items():
            assert found[name] == pytest.approx(value, rel=2e-3), name
    ours, theirs = weights(shared / "one"), weights(shared / "two")
    assert ours.keys() == theirs.keys()
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in ours) <= 1e-4
    assert RewardModel.from_pretrained(shared / "two" / "critic", device="cpu").identity["trained"]
    assert ["critic: " in said for said in two] == [True, False]
    assert json.loads((shared / "two" / "sft.run.json").read_text())["processes"] == 2
    assert len(json.loads((shared / "two" / "critic" / "training.json").read_text())["prompt_ids"]) == 12


@pytest.mark.slow
def test_two_processes_resume_to_the_bit(two, shared):
    shutil.copytree(shared / "two", shared / "parts")
    shutil.rmtree(shared / "parts" / "checkpoint-2")
    shutil.rmtree(shared / "parts" / "critic")
    launch(shared, "parts", 2, *STEPS, "--batch_size", "2", "--resume")
    whole, parts = weights(shared / "two"), weights(shared / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
