"""The toy world's truth and oracle as teachers, through `worldcritic label`."""

import json
import shutil

import pytest

from worldcritic import main


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    assert main(["toyworld", "--out", str(folder), "--num", "6", "--candidates", "2", "--overwrite"]) == 0
    return folder


def label(made, teacher, out, *more):
    data = ["--prompts", str(made / "prompts.json"), "--videos", str(made / "videos"), "--workers", "1"]
    code = main(["label", "--teacher", teacher, *data, "--out", str(out), *more])
    return code, [json.loads(line) for line in (out / "labels.jsonl").read_text().splitlines()]


def test_truth_labels_are_the_lines_of_the_truth_file(made, tmp_path):
    code, rows = label(made, "truth", tmp_path)
    assert code == 0
    truth = [json.loads(line) for line in (made / "truth.jsonl").read_text().splitlines()]
    prompts = json.loads((made / "prompts.json").read_text())
    expected = {}
    for line in truth:
        video = line["video"].removeprefix("videos/")
        checks = prompts[line["prompt_id"]]["verification_checks"]
        for check, yes in zip(checks, line["checks"], strict=True):
            expected[video, check["question"]] = "yes" if yes else "no"
        expected[video, "order"] = line["order"]
    found = {(row["video"], row["question"] if row["kind"] == "check" else "order"): row["answer"] for row in rows}
    assert found == {key: answer for key, answer in expected.items() if answer is not None}
    assert {row["p_source"] for row in rows} == {"truth"}
    assert {row["p_yes"] for row in rows if row["kind"] == "check"} == {0.0, 1.0}


def test_the_oracle_says_what_is_true_from_the_pixels_alone(made, tmp_path):
    _, truth = label(made, "truth", tmp_path / "truth")
    for name in ("prompts.json", "videos"):
        copy = shutil.copytree if (made / name).is_dir() else shutil.copy
        copy(made / name, tmp_path / name)
    code, rows = label(tmp_path, "oracle", tmp_path / "oracle")
    assert code == 0
    assert [row["answer"] for row in rows] == [row["answer"] for row in truth]
    assert {row["p_source"] for row in rows} == {"oracle"}
    assert {row["teacher"]["frames"] for row in rows} == {16}
    assert {row["teacher"]["fps"] for row in rows} == {8.0}
    assert all(row["raw"] for row in rows if row["kind"] == "check")


def test_what_truth_and_oracle_cannot_know_is_a_refusal(made, tmp_path):
    prompts = json.loads((made / "prompts.json").read_text())
    name, record = next(iter(prompts.items()))
    record["verification_checks"][0]["question"] = "Is the moon made of cheese?"
    record["t2v_eval_event_info"]["verification_plan"][0]["event_description"] = "The moon rises."
    (made / "others.json").write_text(json.dumps({name: record}))
    for teacher in ("truth", "oracle"):
        data = ["--prompts", str(made / "others.json"), "--videos", str(made / "videos"), "--workers", "1"]
        assert main(["label", "--teacher", teacher, *data, "--out", str(tmp_path / teacher)]) == 3
        rows = [json.loads(line) for line in (tmp_path / teacher / "labels.jsonl").read_text().splitlines()]
        unknown = [row for row in rows if "moon" in row["question"] or row["kind"] == "order"]
        assert {row["state"] for row in unknown} == {"refusal"}
        assert all(row["error"] and row["answer"] is None for row in unknown)
        assert {row["state"] for row in rows if row not in unknown} <= {"answer"}


def test_a_video_that_is_none_of_the_truths_own_is_a_refusal(made, tmp_path):
    shutil.copytree(made / "videos", tmp_path / "elsewhere")
    data = ["--prompts", str(made / "prompts.json"), "--videos", str(tmp_path / "elsewhere"), "--workers", "1"]
    assert main(["label", "--teacher", "truth", *data, "--out", str(tmp_path / "labels")]) == 3
    rows = [json.loads(line) for line in (tmp_path / "labels" / "labels.jsonl").read_text().splitlines()]
    assert {row["state"] for row in rows} == {"refusal"}
    assert "says nothing about" in rows[0]["error"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"prompt_id": "nobody", "video": "x", "checks": [], "order": ""}, "'nobody' is not in prompts.json"),
        ({"prompt_id": "toy-000000", "video": "x", "checks": [True] * 99, "order": ""}, "one truth per check"),
    ],
)
def test_a_truth_file_that_does_not_fit_is_refused(made, tmp_path, capsys, line, message):
    shutil.copy(made / "prompts.json", tmp_path / "prompts.json")
    (tmp_path / "truth.jsonl").write_text(json.dumps(line) + "\n")
    data = ["--prompts", str(tmp_path / "prompts.json"), "--videos", str(made / "videos")]
    for teacher in ("truth", f"truth:{tmp_path}", f"truth:{tmp_path / 'truth.jsonl'}"):
        assert main(["label", "--teacher", teacher, *data, "--out", str(tmp_path / "labels")]) == 2
        assert message in capsys.readouterr().err
