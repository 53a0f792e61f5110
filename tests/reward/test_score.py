"""`worldcritic score` through the console command."""

import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from reward.critic import VideoCritic
from reward.loading import zero_shot_manifest
from reward.model import RewardModel
from reward.options import LoadOptions
from reward.tiny import tiny_model, tiny_tokenizer
from reward.video import write_video
from worldcritic import main


def checks(*questions):
    return [{"check_type": "Mechanics", "question": question} for question in questions]


def record(text, events=(), questions=()):
    return {
        "verification_checks": checks(*questions),
        "t2v_following_prompt": {"t2v_prompt": text},
        "t2v_eval_event_info": {
            "verification_plan": [{"event_id": i, "event_description": e} for i, e in enumerate(events, 1)]
        },
    }


PROMPTS = {
    "ball": record("A ball falls, then bounces.", ("It falls.", "It bounces."), ("Does it fall?", "Is it round?")),
    "lamp": record("A lamp turns on.", ("It turns on.",)),
    "tree": record("A tree.", (), ("Is it a tree?",)),
}


def write_clip(path, seed, frames=6):
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = np.random.default_rng(seed).integers(0, 256, (frames, 32, 32, 3), dtype=np.uint8)
    write_video(path, pictures, fps=8)


@pytest.fixture
def world(tmp_path):
    """Three prompts, four videos in both layouts, in a folder of their own."""
    (tmp_path / "prompts.json").write_text(json.dumps(PROMPTS))
    videos = tmp_path / "videos"
    write_clip(videos / "ball" / "a.mp4", 1)
    write_clip(videos / "ball" / "b.mp4", 2)
    write_clip(videos / "lamp.mp4", 3)
    write_clip(videos / "tree.mp4", 4)
    return tmp_path


def score(world, *more, critic="fake"):
    arguments = ["score", "--critic", critic, "--prompts", str(world / "prompts.json")]
    if "--manifest" not in more:
        arguments += ["--videos", str(world / "videos")]
    return main([*arguments, "--out", str(world / "scores.jsonl"), "--workers", "1", *more])


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_one_complete_row_per_video(world, capsys):
    assert score(world) == 0
    found = rows(world / "scores.jsonl")
    assert [row["video"] for row in found] == ["ball/a.mp4", "ball/b.mp4", "lamp.mp4", "tree.mp4"]
    ball = found[0]
    assert {key: ball[key] for key in ("prompt_id", "status", "error")} == {
        "prompt_id": "ball", "status": "ok", "error": None
    }  # fmt: skip
    assert len(ball["dimensions"]) == 10
    assert [q["question"] for q in ball["questions"]] == ["Does it fall?", "Is it round?"]
    assert ball["dimensions"]["mechanics"] == pytest.approx(np.mean([q["p_yes"] for q in ball["questions"]]))
    assert ball["dimensions"]["camera_control"] is None
    points = ball["events"]["expected_lcs"] + sum(q["p_yes"] for q in ball["questions"])
    assert ball["reward"] == pytest.approx(points / 4)
    assert ball["events"]["n"] == 2
    assert found[3]["events"] is None
    assert found[0]["reward"] != found[1]["reward"]
    summary = capsys.readouterr().err
    assert "4 videos: 4 ok" in summary
    assert "never trained" in summary
    run = json.loads((world / "scores.jsonl.run.json").read_text())
    assert run["config"]["critic"] == "fake"
    assert len(run["inputs"]["prompts"]["sha256"]) == 64


def test_missing_and_extra_files_are_listed_before_scoring(world, capsys):
    (world / "videos" / "lamp.mp4").unlink()
    write_clip(world / "videos" / "stranger.mp4", 5)
    assert score(world) == 0
    errors = capsys.readouterr().err
    assert errors.index("1 prompts without a video: lamp") < errors.index("scoring")
    assert "1 videos of no known prompt: stranger.mp4" in errors


def test_a_damaged_video_is_a_row_with_a_reason_and_exit_code_3(world, capsys):
    (world / "videos" / "ball" / "a.mp4").write_bytes(b"")
    (world / "videos" / "tree.mp4").write_text("not a video at all")
    assert score(world) == 3
    found = rows(world / "scores.jsonl")
    assert [row["status"] for row in found] == ["error", "ok", "ok", "error"]
    for row in (found[0], found[3]):
        assert row["error"]
        assert row["reward"] is None
        assert set(row["dimensions"].values()) == {None}
    assert "2 error" in capsys.readouterr().err


def test_running_again_scores_only_what_is_new(world, capsys):
    assert score(world, "--limit", "2") == 0
    first = rows(world / "scores.jsonl")
    assert len(first) == 2
    write_clip(world / "videos" / "ball" / "b.mp4", 9)
    capsys.readouterr()
    assert score(world) == 0
    assert "scoring: 3/3" in capsys.readouterr().err
    second = rows(world / "scores.jsonl")
    assert second[0] == first[0]
    assert second[1]["sha256"] != first[1]["sha256"]
    assert score(world) == 0
    assert "scoring: 0/0" in capsys.readouterr().err
    assert rows(world / "scores.jsonl") == second


def test_changed_questions_are_asked_again(world, capsys):
    assert score(world) == 0
    changed = PROMPTS | {"tree": record("A tree.", (), ("Is it an oak?",))}
    (world / "prompts.json").write_text(json.dumps(changed))
    capsys.readouterr()
    assert score(world) == 0
    assert "scoring: 1/1" in capsys.readouterr().err
    assert rows(world / "scores.jsonl")[3]["questions"][0]["question"] == "Is it an oak?"


def test_errors_are_tried_again_only_when_asked(world, capsys):
    (world / "videos" / "tree.mp4").write_bytes(b"")
    assert score(world) == 3
    capsys.readouterr()
    assert score(world) == 3
    assert "scoring: 0/0" in capsys.readouterr().err
    assert score(world, "--retry_errors") == 3
    assert "scoring: 1/1" in capsys.readouterr().err
    write_clip(world / "videos" / "tree.mp4", 4)
    assert score(world) == 0


def test_a_torn_last_line_is_dropped_and_scored_again(world, capsys):
    assert score(world) == 0
    complete = rows(world / "scores.jsonl")
    content = (world / "scores.jsonl").read_bytes()
    (world / "scores.jsonl").write_bytes(content[:-40])
    capsys.readouterr()
    assert score(world) == 0
    assert "half-written" in capsys.readouterr().err
    assert rows(world / "scores.jsonl") == complete


def test_a_killed_run_goes_on_where_it_stopped(world):
    """SIGKILL at several moments; the table ends up as an uninterrupted run makes it."""
    assert score(world) == 0
    uninterrupted = rows(world / "scores.jsonl")
    (world / "scores.jsonl").unlink()
    command = [sys.executable, "-m", "worldcritic", "score", "--critic", "fake", "--workers", "1"]
    command += ["--prompts", str(world / "prompts.json"), "--videos", str(world / "videos")]
    command += ["--out", str(world / "scores.jsonl")]
    for seconds in (0.5, 1.0, 1.5):
        try:
            subprocess.run(command, timeout=seconds, capture_output=True, check=False)
        except subprocess.TimeoutExpired:
            continue
    assert score(world) == 0
    assert rows(world / "scores.jsonl") == uninterrupted


def test_shards_together_are_the_whole(world):
    assert score(world) == 0
    whole = rows(world / "scores.jsonl")
    parts = []
    for shard in range(3):
        code = score(world, "--num_shards", "3", "--shard_index", str(shard))
        path = world / f"scores-0000{shard}-of-00003.jsonl"
        assert code == (0 if path.exists() else 2)
        parts += rows(path) if path.exists() else []
    assert sorted(row["video"] for row in parts) == sorted(row["video"] for row in whole)
    homes = [{row["prompt_id"] for row in rows(path)} for path in world.glob("scores-*.jsonl")]
    assert sum(map(len, homes)) == 3


def test_a_manifest_names_the_videos(world):
    lines = [{"prompt_id": "tree", "video": "ball/a.mp4"}, {"prompt_id": "ball", "video": "gone.mp4"}]
    path = world / "videos" / "list.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert score(world, "--manifest", str(path)) == 3
    found = rows(world / "scores.jsonl")
    assert [(row["prompt_id"], row["status"]) for row in found] == [("ball", "missing"), ("tree", "ok")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt_id": "nobody", "video": "lamp.mp4"}', "list.jsonl:1: prompt id 'nobody'"),
        ('{"prompt_id": "lamp", "video": "../prompts.json"}', "leaves the folder"),
        ('{"prompt_id": "lamp", "video": "/etc/hostname"}', "must be relative"),
        ('{"prompt_id": "lamp"}', "needs the strings"),
        ('{"prompt_id": "lamp", "video": "lamp.mp4"}\n{"prompt_id": "lamp", "video": "lamp.mp4"}', "already in line 1"),
        ("{", "not valid JSON"),
    ],
)
def test_a_bad_manifest_is_one_clear_line(world, capsys, line, message):
    path = world / "videos" / "list.jsonl"
    path.write_text(line)
    assert score(world, "--manifest", str(path)) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1
    assert message in errors[0]
    assert not (world / "scores.jsonl").exists()


def test_a_link_out_of_the_folder_is_refused(world, capsys):
    outside = world / "outside.mp4"
    write_clip(outside, 7)
    (world / "videos" / "lamp.mp4").unlink()
    (world / "videos" / "lamp.mp4").symlink_to(outside)
    assert score(world) == 2
    assert "leaves the folder" in capsys.readouterr().err


def test_scores_of_another_critic_are_not_written_over(world, capsys):
    assert score(world) == 0
    before = (world / "scores.jsonl").read_bytes()
    assert score(world, "--weights", "mechanics", "2") == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (world / "scores.jsonl").read_bytes() == before
    assert score(world, "--weights", "mechanics", "2", "--overwrite") == 0
    assert (world / "scores.jsonl").read_bytes() != before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prompts", "nowhere.json"], "does not exist"),
        (["--videos", "nowhere"], "does not exist"),
        (["--num_shards", "2", "--shard_index", "2"], "must be below"),
        (["--weights", "taste", "2"], "unknown dimension 'taste'"),
        (["--critic", "no-such-critic/at-all"], "no-such-critic"),
    ],
)
def test_bad_options_are_one_clear_line(world, capsys, arguments, message, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert score(world, *arguments) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in last
    assert last.startswith("worldcritic score: ")
    assert not (world / "scores.jsonl").exists()


def test_no_video_at_all_is_an_error(world, capsys):
    (world / "prompts.json").write_text(json.dumps({"other": PROMPTS["ball"]}))
    assert score(world) == 2
    assert "no video to score" in capsys.readouterr().err


def test_dry_run_counts_and_writes_nothing(world, capsys):
    assert score(world, "--dry_run") == 0
    assert json.loads(capsys.readouterr().out)["questions"] == 3 + 3 + 1 + 1
    assert not (world / "scores.jsonl").exists()


def test_frozen_clips_are_said_and_not_paid(world, capsys):
    picture = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    write_video(world / "videos" / "tree.mp4", np.repeat(picture, 8, axis=0), fps=8)
    assert score(world) == 0
    tree = rows(world / "scores.jsonl")[3]
    assert tree["gates"]["closed"] == ["frozen"]
    assert tree["reward"] == 0
    assert tree["ungated_reward"] == tree["questions"][0]["p_yes"]
    assert "1 frozen or black" in capsys.readouterr().err


def test_a_pipe_in_place_of_a_video_does_not_hang_the_others(world):
    (world / "videos" / "lamp.mp4").unlink()
    os.mkfifo(world / "videos" / "lamp.mp4")
    assert score(world, "--decode_seconds", "20") == 3
    assert [row["status"] for row in rows(world / "scores.jsonl")] == ["ok", "ok", "error", "ok"]


def test_the_embedded_critic_scores_its_own_world_and_answers_below_the_minimum_mass_do_not_count(world, capsys):
    assert main(["toyworld", "--out", str(world / "toy"), "--num", "4"]) == 0
    toy = ["--prompts", str(world / "toy" / "prompts.json"), "--videos", str(world / "toy" / "videos")]
    assert main(["score", "--critic", "toyworld", *toy, "--out", str(world / "toy.jsonl")]) == 0
    found = rows(world / "toy.jsonl")
    assert all(row["status"] == "ok" and 0 <= row["reward"] <= 1 for row in found)
    assert found[0]["critic"]["trained"] is True
    assert "never trained" not in capsys.readouterr().err
    assert score(world, "--min_answer_mass", "1", critic="toyworld") == 3
    below = rows(world / "scores.jsonl")
    assert {row["status"] for row in below} <= {"partial", "unanswered"}
    assert all("answer mass" in row["error"] for row in below)


def test_a_critic_that_was_never_trained_says_so(world, capsys, tmp_path):
    tokenizer = tiny_tokenizer()
    manifest = zero_shot_manifest("raw", (raw := tiny_model("qwen3_vl", tokenizer)).config, tokenizer)
    manifest = dataclasses.replace(manifest, trained=False, min_answer_mass=0.0)
    critic = VideoCritic(raw, tokenizer, manifest, LoadOptions(device="cpu"))
    RewardModel(critic).save_pretrained(tmp_path / "raw")
    assert score(world, critic=str(tmp_path / "raw")) == 0
    assert rows(world / "scores.jsonl")[0]["critic"]["trained"] is False
    assert "never trained" in capsys.readouterr().err


def test_ranking_finds_the_scored_videos_by_itself(world):
    assert score(world) == 0
    best = world / "best"
    out = ["--out", str(world / "best.jsonl"), "--copy_to", str(best)]
    assert main(["rank", "--scores", str(world / "scores.jsonl"), *out]) == 0
    assert sorted(path.name for path in best.iterdir()) == ["ball.mp4", "lamp.mp4", "tree.mp4"]
    rewards = {row["video"]: row["reward"] for row in rows(world / "scores.jsonl")}
    winner = max(("ball/a.mp4", "ball/b.mp4"), key=rewards.__getitem__)
    assert (best / "ball.mp4").read_bytes() == (world / "videos" / winner).read_bytes()


def test_plain_text_prompts_get_generic_questions(world):
    (world / "prompts.txt").write_text("A ball falls.\n\nA lamp turns on.\n")
    write_clip(world / "videos" / "p00002.mp4", 8)
    assert score(world, "--prompts", str(world / "prompts.txt")) == 0
    (row,) = rows(world / "scores.jsonl")
    assert all(value is not None for value in row["dimensions"].values())
    assert all("A lamp turns on." in question["question"] for question in row["questions"])
