import dataclasses
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from distill.card import BEGIN, END
from reward import LoadOptions, RewardModel
from reward.calibration import load_calibration, read_calibration
from reward.critic import VideoCritic
from reward.loading import zero_shot_manifest
from reward.manifest import read_manifest
from reward.prompts import Prompt
from reward.tiny import tiny_model
from reward.training import TrainingRecord, read_training, write_training
from reward.video import write_video
from reward.wording import order_text
from worldcritic import main

DIMENSIONS = ("mechanics", "camera_control", "depth_3d")
CRITIC = {"name": "c", "trained": True, "manifest_sha256": "a" * 64, "calibrated": False, "min_answer_mass": 0.1}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def label(prompt, dimension, yes, **more):
    row = {
        "prompt_id": prompt,
        "video": f"{prompt}.mp4",
        "video_path": f"videos/{prompt}.mp4",
        "sha256": f"hash of {prompt}",
        "t2v_prompt": "A ball falls.",
        "kind": "check",
        "dimension": dimension,
        "question": f"What of {dimension}?",
        "state": "answer",
        "p_yes": None,
        "answer": "yes" if yes else "no",
        "teacher": {"name": "truth"},
    }
    return row | more


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def synthetic(tmp_path):
    """Labels, and scores of a critic whose logits are three times too large and shifted, but right in depth_3d."""
    rng = np.random.default_rng(0)
    labels, scores = [], []
    for i in range(300):
        questions = []
        for dimension in DIMENSIONS:
            x = rng.normal(0, 1)
            labels.append(label(f"p{i}", dimension, rng.random() < sigmoid(x)))
            p = sigmoid(x) if dimension == "depth_3d" else sigmoid(3 * x + 1)
            question = f"What of {dimension}?"
            questions.append({"dimension": dimension, "question": question, "p_yes": float(p), "answer_mass": 0.9})
        row = {"prompt_id": f"p{i}", "video": f"{i}.mp4", "sha256": f"hash of p{i}", "status": "ok", "reward": 0.5}
        scores.append(row | {"questions": questions, "critic": CRITIC})
    return labels, scores


@pytest.fixture
def calibrate(tmp_path):
    def run(labels, scores=None, *options):
        arguments = ["--labels", str(lines(tmp_path / "labels.jsonl", labels)), "--out", str(tmp_path / "out")]
        if scores is not None:
            arguments += ["--scores", str(lines(tmp_path / "scores.jsonl", scores))]
        code = main(["calibrate", *arguments, "--resamples", "200", "--workers", "1", *options])
        report = tmp_path / "out" / "report.json"
        return code, json.loads(report.read_text()) if report.exists() else {}

    return run


def of(report, name):
    return next(line for line in report["table"] if line["dimension"] == name)


def test_a_miscalibrated_critic_is_set_right_on_held_out_prompts(calibrate, synthetic, tmp_path, capsys):
    code, report = calibrate(*synthetic)
    assert code == 0
    line = of(report, "mechanics")
    assert line["before"]["ece_width"]["value"] > 0.15
    assert line["after"]["ece_width"]["value"] < line["before"]["ece_width"]["value"] / 2
    for measure in ("brier", "nll"):
        assert line["after"][measure]["value"] < line["before"][measure]["value"]
    assert line["nll_change"]["interval"]["high"] < 0
    assert line["after"]["auroc"]["value"] == pytest.approx(line["before"]["auroc"]["value"], abs=0.03)
    interval = line["before"]["auroc"]["interval"]
    assert interval["low"] < line["before"]["auroc"]["value"] < interval["high"]
    maps = json.loads((tmp_path / "out" / "calibration.json").read_text())["maps"]
    assert set(maps) == {"pooled", *DIMENSIONS}
    out = capsys.readouterr()
    assert "mechanics" in out.out
    assert "not installed: --critic names no folder" in out.err


def test_the_calibration_is_bound_to_the_critic_of_the_scores(calibrate, synthetic, tmp_path):
    calibrate(*synthetic, "--method", "platt")
    calibration = read_calibration(tmp_path / "out", "a" * 64)
    assert calibration.maps["mechanics"].a == pytest.approx(1 / 3, abs=0.08)
    assert calibration.maps["depth_3d"].a == pytest.approx(1, abs=0.25)
    assert calibration.fit["prompts"] == 300
    assert calibration.fit["methods"] == dict.fromkeys(["pooled", *DIMENSIONS], "platt")


def test_the_picture_shows_both_diagrams(calibrate, synthetic, tmp_path):
    calibrate(*synthetic)
    with Image.open(tmp_path / "out" / "reliability.png") as picture:
        assert picture.size == (1080, 672)
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    blue = (np.abs(pixels.astype(int) - [31, 119, 180]).sum(axis=1) < 30).sum()
    assert blue > 2000


def test_reliability_numbers_are_in_the_report(calibrate, synthetic):
    _, report = calibrate(*synthetic)
    for when in ("before", "after"):
        for bins in report["reliability"][when].values():
            assert sum(each["n"] for each in bins) == 900
            assert all(0 <= each["share_yes"] <= 1 for each in bins)


def test_scores_that_are_calibrated_already_are_refused(calibrate, synthetic, tmp_path, capsys):
    labels, scores = synthetic
    for row in scores:
        row["critic"] = CRITIC | {"calibrated": True}
    assert calibrate(labels, scores) == (2, {})
    error = capsys.readouterr().err
    assert "scored by a calibrated critic" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_answers_without_mass_and_labels_without_scores_are_counted_not_guessed(calibrate, synthetic):
    labels, scores = synthetic
    scores[0]["questions"][0]["answer_mass"] = 0.01
    scores[1]["questions"][0]["p_yes"] = None
    order = {"kind": "order", "dimension": "event_following", "events": ["x"], "question": "Order?", "answer": "A"}
    labels += [label("elsewhere", "mechanics", True), label("p0", "mechanics", True) | order]
    labels.append(label("p0", "mechanics", True, question="Else?", state="refusal", answer=None))
    _, report = calibrate(labels, scores)
    assert report["unanswered"] == {
        "answer mass too low": 1,
        "no answer": 1,
        "no score of this video and question": 1,
        "event order, which score rows hold no distribution of": 1,
    }
    assert report["labels_by_state"] == {"answer": 902, "refusal": 1}
    assert of(report, "mechanics")["n"] == 298


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda labels, scores: labels[:1], "needs Yes and No"),
        (lambda labels, scores: [row | {"prompt_id": "q"} for row in labels], "no labelled check has an answer"),
        (lambda labels, scores: [row | {"state": "error", "answer": None} for row in labels], "no label to calibrate"),
    ],
)
def test_what_cannot_be_calibrated_on_is_one_line(calibrate, synthetic, tmp_path, capsys, change, message):
    labels, scores = synthetic
    assert calibrate(change(labels, scores), scores) == (2, {})
    error = capsys.readouterr().err
    assert message in error
    assert not (tmp_path / "out" / "calibration.json").exists()


def test_nothing_is_written_over_without_being_told(calibrate, synthetic, capsys):
    assert calibrate(*synthetic)[0] == 0
    assert calibrate(*synthetic)[0] == 2
    assert "--overwrite" in capsys.readouterr().err
    assert calibrate(*synthetic, "--overwrite")[0] == 0


def test_neither_critic_nor_scores_is_an_error(calibrate, synthetic, capsys):
    assert calibrate(synthetic[0])[0] == 2
    assert "--critic, or --scores" in capsys.readouterr().err


def test_held_out_rows_serve_as_labels_without_the_mismatched_ones(calibrate, synthetic, tmp_path, capsys):
    labels, scores = synthetic
    _, of_labels = calibrate(labels, scores, "--method", "platt")
    rows = [
        {
            "video_path": row["video_path"],
            "t2v_prompt": row["t2v_prompt"],
            "dimension": row["dimension"],
            "question": row["question"],
            "target": row["answer"],
            "prompt_id": row["prompt_id"],
            "sha256": row["sha256"],
        }
        for row in labels
    ]
    rows.append(rows[0] | {"target": "no", "mismatched": True})
    path = lines(tmp_path / "validation.jsonl", rows)
    arguments = ["--rows", str(path), "--scores", str(tmp_path / "scores.jsonl"), "--method", "platt"]
    assert main(["calibrate", *arguments, "--out", str(tmp_path / "rows"), "--resamples", "200"]) == 0
    of_rows = json.loads((tmp_path / "rows" / "report.json").read_text())
    assert of_rows["table"] == of_labels["table"]
    assert calibrate(labels, scores, "--rows", str(path), "--overwrite")[0] == 2
    assert "either --labels" in capsys.readouterr().err


@pytest.fixture(scope="module")
def saved(tmp_path_factory, tokenizer):
    """A tiny critic in a folder."""
    model = tiny_model("qwen3_vl", tokenizer, gain=4.0)
    manifest = zero_shot_manifest("tiny", model.config, tokenizer)
    frames = dataclasses.replace(manifest.frames, num_frames=4)
    pixels = dataclasses.replace(manifest.pixels, min_pixels=32 * 32, max_pixels=64 * 64)
    manifest = dataclasses.replace(manifest, min_answer_mass=0.0, frames=frames, pixels=pixels)
    folder = tmp_path_factory.mktemp("saved") / "critic"
    RewardModel(VideoCritic(model, tokenizer, manifest)).save_pretrained(folder)
    return folder


@pytest.fixture
def world(saved, tmp_path):
    """A copy of the critic, videos of noise, and labels on which it is wrong as often as not."""
    rng = np.random.default_rng(1)
    labels = []
    events = ["it falls", "it glows"]
    for i in range(6):
        path = tmp_path / "videos" / f"p{i}.mp4"
        path.parent.mkdir(exist_ok=True)
        write_video(path, rng.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8), 8.0)
        known = {"video_path": str(path)}
        labels += [label(f"p{i}", name, rng.random() < 0.5, **known) for name in DIMENSIONS]
        order = {"kind": "order", "dimension": "event_following", "events": events, "question": order_text(events)}
        labels.append(label(f"p{i}", "mechanics", True, **known) | order | {"answer": ["AB", "A", ""][i % 3]})
    return shutil.copytree(saved, tmp_path / "critic"), labels


def test_a_critic_is_asked_and_its_calibration_installed(world, calibrate, tmp_path):
    critic, labels = world
    options = ["--critic", str(critic), "--device", "cpu", "--min_errors", "2", "--method", "platt", "--folds", "3"]
    code, report = calibrate(labels, None, *options)
    assert code == 0
    assert (report["fit"]["answers"], report["fit"]["orders"], report["unanswered"]) == (18, 6, {})
    assert report["event_order"]["method"] == "temperature"
    assert (critic / "calibration.json").read_bytes() == (tmp_path / "out" / "calibration.json").read_bytes()
    loaded = RewardModel.from_pretrained(critic, LoadOptions(device="cpu"))
    assert loaded.identity["calibrated"]
    path, plain = tmp_path / "videos" / "p0.mp4", RewardModel(loaded.critic)
    asked = Prompt("p0", "A ball falls.", (), tuple(_checks(labels[:3])))
    raw, calibrated = (model.score_files([path], [asked])[0].answers for model in (plain, loaded))
    maps = loaded.calibration.maps
    for name, one, other in zip(DIMENSIONS, raw, calibrated, strict=True):
        assert maps.get(name, maps["pooled"]).apply(one.p_yes) == pytest.approx(other.p_yes)
    assert calibrate(labels, None, *options)[0] == 2
    again, report_again = calibrate(labels, None, *options, "--overwrite")
    assert again == 0
    assert report_again["table"] == report["table"]


def _checks(labels):
    from reward.prompts import Check

    return [Check(row["dimension"], row["question"]) for row in labels]


def test_other_frames_than_the_manifests_are_not_installed(world, calibrate, tmp_path, capsys):
    critic, labels = world
    code, _ = calibrate(labels, None, "--critic", str(critic), "--device", "cpu", "--num_frames", "2")
    assert code == 0
    assert "other frames or pixels" in capsys.readouterr().err
    assert not (critic / "calibration.json").exists()
    bound = json.loads((tmp_path / "out" / "calibration.json").read_text())["manifest_sha256"]
    assert bound != read_manifest(critic).sha256


def test_prompts_and_videos_of_the_training_are_refused(world, calibrate, tmp_path, capsys):
    critic, labels = world
    for record, what in (
        (TrainingRecord(frozenset({"p3", "x"}), frozenset()), "1 of the prompt ids to calibrate on: p3"),
        (TrainingRecord(frozenset(), frozenset({"hash of p5"})), "1 of the video files"),
    ):
        write_training(critic, record)
        assert read_training(critic) == record
        assert calibrate(labels, None, "--critic", str(critic), "--device", "cpu")[0] == 2
        assert what in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    write_training(critic, TrainingRecord(frozenset({"x"}), frozenset()))
    assert calibrate(labels, None, "--critic", str(critic), "--device", "cpu")[0] == 0


def test_a_training_record_that_is_none_is_refused(world, calibrate, capsys):
    critic, labels = world
    (critic / "training.json").write_text('{"prompt_ids": "p1"}')
    assert calibrate(labels, None, "--critic", str(critic), "--device", "cpu")[0] == 2
    assert "key 'prompt_ids' must be a list of strings" in capsys.readouterr().err


def test_a_broken_video_costs_its_own_labels_only(world, calibrate, tmp_path):
    critic, labels = world
    (tmp_path / "videos" / "p2.mp4").write_bytes(b"no video")
    _, report = calibrate(labels, None, "--critic", str(critic), "--device", "cpu")
    assert report["fit"]["answers"] == 15
    ((reason, count),) = report["unanswered"].items()
    assert count == 4
    assert "p2.mp4" in reason
    assert len(report["table"]) == 4


def test_a_critic_without_a_manifest_is_calibrated_by_a_file(world, calibrate, tmp_path, capsys):
    critic, labels = world
    (critic / "worldcritic.json").unlink()
    options = ["--critic", str(critic), "--device", "cpu", "--min_answer_mass", "0", "--num_frames", "4"]
    assert calibrate(labels, None, *options)[0] == 0
    assert "has no manifest" in capsys.readouterr().err
    prompts = [{"prompt_id": "p0", "prompt": "x", "checks": [{"dimension": "mechanics", "question": "Is it?"}]}]
    where = ["--prompts", str(lines(tmp_path / "prompts.jsonl", prompts)), "--videos", str(tmp_path / "videos")]

    def score(name, *more):
        return main(["score", *options, *where, "--workers", "1", "--out", str(tmp_path / name), *more])

    with_file = ["--calibration", str(tmp_path / "out" / "calibration.json")]
    assert score("raw.jsonl") == score("scores.jsonl", *with_file) == 0
    raw, row = (json.loads((tmp_path / name).read_text()) for name in ("raw.jsonl", "scores.jsonl"))
    assert (raw["critic"]["calibrated"], row["critic"]["calibrated"]) == (False, True)
    maps = load_calibration(tmp_path / "out" / "calibration.json", row["critic"]["manifest_sha256"]).maps
    before, after = (each["questions"][0]["p_yes"] for each in (raw, row))
    assert after == pytest.approx(maps["pooled"].apply(before), abs=1e-6)
    assert score("scores.jsonl") == 2, "rows of another calibration are not mixed with these"
    assert "another --out" in capsys.readouterr().err
    assert score("other.jsonl", *with_file, "--max_pixels", "1024") == 2
    assert "calibrate this critic again" in capsys.readouterr().err
    assert score("other.jsonl", *with_file, "--critic", "fake") == 2
    assert "critic fake has no manifest" in capsys.readouterr().err


def test_the_card_of_a_critic_gets_the_calibration(world, calibrate):
    critic, labels = world
    (critic / "README.md").write_text(f"# c\n\n{BEGIN}\nnone yet\n{END}\n\nthe end\n")
    options = ["--critic", str(critic), "--device", "cpu"]
    code, report = calibrate(labels, None, *options)
    assert code == 0
    text = (critic / "README.md").read_text()
    assert text.startswith(f"# c\n\n{BEGIN}\n")
    assert text.endswith(f"{END}\n\nthe end\n")
    assert "none yet" not in text
    all_checks = of(report, "all checks")
    assert f"| all checks | 18 | {all_checks['errors']} | - |" in text
    assert f"| {all_checks['before']['nll']['value']:.3f} | {all_checks['after']['nll']['value']:.3f} |" in text
    calibrate(labels, None, *options, "--overwrite")
    assert (critic / "README.md").read_text() == text
    (critic / "README.md").write_text("# my own words\n")
    calibrate(labels, None, *options, "--overwrite")
    assert (critic / "README.md").read_text() == "# my own words\n"
