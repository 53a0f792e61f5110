"""Frozen copies of training videos, and what is true of them: asked of the toy world's oracle, who sees the pixels."""

import json

import numpy as np
import pytest

from distill.frozen import certain_answer
from distill.rows import Row, load_rows
from reward.video import FrameSampling, read_video, write_video
from reward.wording import order_text
from toyworld.draw import draw
from toyworld.oracle import judge
from toyworld.world import World
from worldcritic import main


def check(question, dimension="mechanics"):
    return Row("v.mp4", "A prompt.", dimension, question, "Yes", kind="check")


def order(*events):
    return Row("v.mp4", "A prompt.", "event_following", order_text(events), "A", kind="order", events=events)


@pytest.mark.parametrize(
    ("row", "answer"),
    [
        (check("Does the ball fall down?"), "No"),
        (check("Does the vinegar bubble when it is poured?", "material_properties"), "No"),
        (check("Does the camera pan to the left?", "camera_control"), "No"),
        (check("Does the camera stay still?", "camera_control"), "Yes"),
        (check("Does the camera stay still, then pan to the left?", "camera_control"), None),
        (check("Does the ball stay where it is and not roll?"), None),
        (check("Does the ball stop rolling?"), None),
        (check("Does every ball roll away?"), None),
        (check("Does the chair carry her weight?"), None),
        (check("Is the ball falling?"), None),
        (check("Does the red ball fall?", "attribution_correctness"), None),
        (check("Does the light fall from the left?", "common_sense"), None),
        (order("The ball falls.", "The lamp turns on."), "None"),
        (order("The ball falls.", "The lamp stays on."), None),
    ],
)
def test_only_what_is_certain_is_answered(row, answer):
    assert certain_answer(row) == answer


def test_the_oracle_sees_in_frozen_clips_what_the_rows_say():
    world, answers = World(64, 16, 8), []
    for drawn in draw(60, seed=7):
        prompt = drawn.toy_prompt.prompt
        frames = world.render(drawn.clip.scene)
        frozen = np.repeat(np.asarray(frames)[:1], len(frames), axis=0)
        judged = judge(prompt, frozen)
        if certain_answer(order(*prompt.events)) == "None":
            assert judged.order == "", prompt.text
            answers.append("None")
        for each, seen in zip(prompt.checks, judged.answers, strict=True):
            if (said := certain_answer(check(each.question, each.dimension))) is not None:
                assert seen.yes == (said == "Yes"), (each.question, prompt.text, seen.reason)
                answers.append(said)
    assert min(answers.count(said) for said in ("None", "Yes", "No")) > 5


@pytest.fixture
def labels(tmp_path):
    """Labels of ten clips of noise, each with a question about motion, one about looks and an order."""
    rows = []
    for i in range(10):
        path = tmp_path / "videos" / f"{i}.mp4"
        frames = np.random.default_rng(i).integers(0, 256, (6, 32, 48, 3), dtype=np.uint8)
        write_video(path, frames, fps=12)
        common = {
            "prompt_id": f"p{i}", "video": path.name, "video_path": str(path), "sha256": f"hash {i}",
            "t2v_prompt": f"A ball in {i}.", "kind": "check", "state": "answer", "teacher": {"name": "t"},
        }  # fmt: skip
        for dimension, question in (("mechanics", "Does it fall?"), ("attribution_correctness", "Is it red?")):
            rows.append({**common, "dimension": dimension, "question": question, "answer": "yes"})
        asked = {"kind": "order", "dimension": "event_following", "events": ["It falls."], "question": "Order?"}
        rows.append({**common, **asked, "answer": "A"})
    path = tmp_path / "labels.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_frozen_copies_join_the_training_rows(labels, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["dataset", "--labels", str(labels), "--out", str(out), "--frozen", "0.5", "--balance", "none"]
    assert main(command) == 0
    rows = load_rows(out / "train.jsonl")
    frozen = [row for row in rows if row.frozen]
    videos = {row.content for row in rows if not row.frozen}
    assert len(frozen) == 2 * round(0.5 * len(videos))
    assert {(row.kind, row.target) for row in frozen} == {("check", "No"), ("order", "None")}
    assert {(row.weight, row.teacher) for row in frozen} == {(0.3, "frozen clip")}
    assert {row.teacher_p for row in frozen if row.kind == "check"} == {0.05}
    assert not any(row.frozen for name in ("validation", "test") for row in load_rows(out / f"{name}.jsonl"))
    assert f"{len(frozen)} training rows are about frozen copies" in capsys.readouterr().err
    originals = {row.prompt_id: row.video_path for row in rows if not row.frozen}
    for row in frozen:
        copy, original = (
            read_video(path, FrameSampling(num_frames=6)) for path in (row.video_path, originals[row.prompt_id])
        )
        assert (copy.num_source_frames, copy.fps) == (original.num_source_frames, original.fps)
        assert (copy.frames.max(axis=0).astype(int) - copy.frames.min(axis=0)).max() <= 12
        off = [np.abs(copy.frames[-1].astype(int) - frame).mean() for frame in original.frames]
        assert int(np.argmin(off)) == 0
    before = {path.name: path.stat().st_mtime_ns for path in (out / "frozen").iterdir()}
    assert main([*command, "--overwrite"]) == 0
    assert {path.name: path.stat().st_mtime_ns for path in (out / "frozen").iterdir()} == before
    assert load_rows(out / "train.jsonl") == rows


def test_a_video_that_cannot_be_frozen_is_named(labels, tmp_path, capsys):
    for path in (tmp_path / "videos").iterdir():
        path.write_bytes(b"no video")
    command = ["dataset", "--labels", str(labels), "--out", str(tmp_path / "out"), "--frozen", "1"]
    assert main(command) != 0
    assert ".mp4" in capsys.readouterr().err
