import json
from collections import Counter

import numpy as np
import pytest

from reward.dimensions import NAMES
from reward.prompts import load_prompts
from reward.video import FrameSampling, read_video
from toyworld.draw import answers_by_dimension, draw
from toyworld.oracle import judge
from toyworld.world import World
from worldcritic import main

SMALL = ["--size", "32", "--frames", "9"]


def make(out, *options):
    return main(["toyworld", "--out", str(out), *options])


def truth_of(out):
    return [json.loads(line) for line in (out / "truth.jsonl").read_text().splitlines()]


def test_the_folder_holds_prompts_truth_and_videos_that_agree(tmp_path, capsys):
    out = tmp_path / "toy"
    assert make(out, "--num", "8", "--seed", "3") == 0
    prompts, rows = load_prompts(out / "prompts.json"), truth_of(out)
    assert list(prompts) == [row["prompt_id"] for row in rows] == [f"toy-{index:06d}" for index in range(8)]
    for row in rows:
        prompt = prompts[row["prompt_id"]]
        clip = read_video(out / row["video"], FrameSampling(num_frames=16))
        assert clip.frames.shape == (16, 64, 64, 3)
        verdict = judge(prompt, clip.frames, clip.timestamps)
        assert [answer.yes for answer in verdict.answers] == [float(truth) for truth in row["checks"]]
        assert verdict.order == row["order"]
    printed = capsys.readouterr()
    assert "event_following" in printed.err
    assert "8 clips of 8 prompts" in printed.err
    assert printed.out == ""
    assert json.loads((out / "truth.jsonl.run.json").read_text())["config"]["seed"] == 3


def test_the_same_seed_gives_the_same_files_and_another_seed_others(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert make(tmp_path / name, *SMALL, "--num", "5", "--seed", str(seed)) == 0
    for file in ("prompts.json", "truth.jsonl", "videos/toy-000004.mp4"):
        one, two, other = ((tmp_path / name / file).read_bytes() for name in "abc")
        assert one == two
        assert one != other


def test_prompts_and_truth_do_not_depend_on_size_length_or_number(tmp_path):
    assert make(tmp_path / "a", *SMALL, "--num", "3") == 0
    assert make(tmp_path / "b", "--size", "48", "--frames", "13", "--num", "5") == 0
    assert truth_of(tmp_path / "a") == truth_of(tmp_path / "b")[:3]


def test_candidates_differ_in_truth_and_share_the_prompt(tmp_path):
    assert make(tmp_path / "toy", *SMALL, "--num", "2", "--candidates", "4") == 0
    rows = truth_of(tmp_path / "toy")
    assert [row["video"] for row in rows[:2]] == ["videos/toy-000000/c00.mp4", "videos/toy-000000/c01.mp4"]
    assert all((tmp_path / "toy" / row["video"]).exists() for row in rows)
    assert len({json.dumps([row["checks"], row["order"]]) for row in rows[:4]}) > 1


def test_questions_about_absent_things_come_on_top_and_are_all_no(tmp_path):
    """The oracle agrees; the clips and the prompts' own questions are those of a set without."""
    make(tmp_path / "a", "--num", "6", "--candidates", "2", *SMALL)
    make(tmp_path / "b", "--num", "6", "--candidates", "2", "--absent", "20", *SMALL)
    plain, more = (load_prompts(tmp_path / name / "prompts.json") for name in "ab")
    for row, longer in zip(truth_of(tmp_path / "a"), truth_of(tmp_path / "b"), strict=True):
        assert longer == row | {"checks": [*row["checks"], *[False] * 20]}
        prompt = more[row["prompt_id"]]
        own = len(row["checks"])
        assert prompt.checks[:own] == plain[row["prompt_id"]].checks
        assert len(set(prompt.checks)) == own + 20
        clip = read_video(tmp_path / "b" / row["video"], FrameSampling(num_frames=9))
        answers = judge(prompt, clip.frames, clip.timestamps).answers
        assert [answer.yes for answer in answers[own:]] == [0.0] * 20


def test_an_existing_folder_is_not_touched_without_overwrite(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("precious")
    assert make(tmp_path, *SMALL, "--num", "1") == 2
    assert "--overwrite" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_overwrite_replaces_its_own_files_and_keeps_others(tmp_path):
    assert make(tmp_path, *SMALL, "--num", "3", "--contact_sheet", "1") == 0
    (tmp_path / "mine.txt").write_text("precious")
    (tmp_path / "videos" / "holiday.mp4").write_bytes(b"precious")
    assert make(tmp_path, *SMALL, "--num", "2", "--candidates", "2", "--overwrite") == 0
    assert (tmp_path / "mine.txt").read_text() == "precious"
    names = {path.relative_to(tmp_path / "videos").as_posix() for path in (tmp_path / "videos").rglob("*.mp4")}
    clips = {f"toy-00000{prompt}/c0{number}.mp4" for prompt in (0, 1) for number in (0, 1)}
    assert names == clips | {"holiday.mp4"}
    assert not (tmp_path / "contact_sheet.png").exists()


def test_the_contact_sheet_is_a_picture(tmp_path):
    from PIL import Image

    assert make(tmp_path / "toy", *SMALL, "--num", "2", "--contact_sheet", "2") == 0
    with Image.open(tmp_path / "toy" / "contact_sheet.png") as picture:
        assert picture.width > 8 * 100
        assert len(np.unique(np.asarray(picture).reshape(-1, 3), axis=0)) > 20


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--size", "31"], "size"),
        (["--size", "8"], "size"),
        (["--frames", "2"], "frames"),
        (["--num", "0"], "num"),
        (["--candidates", "0"], "candidates"),
        (["--crf", "99"], "crf"),
        (["--fps", "0"], "fps"),
        (["--seed", "-1"], "seed"),
    ],
)
def test_bad_options_name_the_option_and_write_nothing(tmp_path, capsys, options, word):
    assert make(tmp_path / "toy", *options) == 2
    assert word in capsys.readouterr().err
    assert not (tmp_path / "toy").exists()


def test_a_file_in_place_of_the_folder_is_refused(tmp_path, capsys):
    (tmp_path / "toy").write_text("")
    assert make(tmp_path / "toy") == 2
    assert "is a file" in capsys.readouterr().err


def test_sets_with_other_prefixes_share_no_prompt_id_and_live_side_by_side(tmp_path):
    assert make(tmp_path, *SMALL, "--num", "2", "--prefix", "train") == 0
    assert list(load_prompts(tmp_path / "prompts.json")) == ["train-000000", "train-000001"]
    assert (tmp_path / "videos" / "train-000001.mp4").exists()
    assert make(tmp_path, *SMALL, "--num", "1", "--prefix", "train", "--overwrite") == 0
    assert [path.name for path in (tmp_path / "videos").iterdir()] == ["train-000000.mp4"]
    assert make(tmp_path / "other", *SMALL, "--num", "1", "--prefix", "../x") == 2


def test_clips_can_be_drawn_without_files():
    drawn = list(draw(2, seed=0, candidates=3))
    assert [(each.toy_prompt.prompt.id, each.candidate) for each in drawn[2:4]] == [
        ("toy-000000", 2),
        ("toy-000001", 0),
    ]
    assert World(32, 9).render(drawn[0].clip.scene).shape == (9, 32, 32, 3)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("candidates", [1, 3])
def test_yes_and_no_are_balanced_in_every_dimension(seed, candidates):
    asked, surplus = Counter(), Counter()
    for drawn in draw(200, seed, candidates):
        asked.update(check.dimension for check in drawn.toy_prompt.prompt.checks)
        asked["event_following"] += 1
        surplus.update(answers_by_dimension(drawn.toy_prompt, drawn.clip))
    assert set(asked) == set(NAMES)
    for name in NAMES:
        assert 0.4 <= (asked[name] + surplus[name]) / (2 * asked[name]) <= 0.6, name
