"""`worldcritic mine` through the console command, its formats there and back, and Hugging Face datasets reading it."""

import csv
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reward.errors import InputError
from reward.preference_pairs import load_pairs, typed_first
from reward.prompts import load_prompts
from reward.scoring import prompt_hash
from reward.video import write_video
from worldcritic import main

PROMPTS = ("A ball falls, and bounces.", "A lamp turns on.")


def score_row(root: Path, prompt: str, video: str, reward: float | None, **more: Any) -> dict[str, Any]:
    path = root / "videos" / video
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        seed = int(hashlib.sha256(video.encode()).hexdigest()[:8], 16)
        write_video(path, np.random.default_rng(seed).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8), fps=8)
    return {
        "prompt_id": prompt,
        "video": video,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "status": "error" if reward is None else "ok",
        "error": "is damaged" if reward is None else None,
        "reward": reward,
        "reward_std": None if reward is None else 0.1,
        "dimensions": {"mechanics": reward, "depth_3d": None},
        "dimension_stds": {"mechanics": None if reward is None else 0.1, "depth_3d": None},
        "gates": {"motion": 20.0, "brightest": 200.0, "closed": []},
        "critic": {"name": "toy"},
        **more,
    }


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Two prompts, one of them named "test", with seven scored videos and the score file's run record."""
    (tmp_path / "prompts.jsonl").write_text(
        "".join(
            json.dumps({"prompt_id": name, "prompt": text}) + "\n"
            for name, text in zip(("p1", "test"), PROMPTS, strict=True)
        )
    )
    prompts = load_prompts(tmp_path / "prompts.jsonl")
    rows = [
        score_row(tmp_path, "p1", "p1/a.mp4", 0.9),
        score_row(tmp_path, "p1", "p1/b.mp4", 0.5),
        score_row(tmp_path, "p1", "p1/c.mp4", 0.49),
        score_row(tmp_path, "p1", "p1/d.mp4", None),
        score_row(tmp_path, "test", "test/a.mp4", 0.2),
        score_row(tmp_path, "test", "test/b.mp4", 0.8),
        score_row(tmp_path, "test", "test/c.mp4", 0.8),
    ]
    for row in rows:
        row["prompt_sha256"] = prompt_hash(prompts[row["prompt_id"]])
    write_scores(tmp_path, rows)
    record = {"inputs": {"prompts": {"path": str(tmp_path / "prompts.jsonl")}}}
    (tmp_path / "scores.jsonl.run.json").write_text(json.dumps({**record, "videos_folder": str(tmp_path / "videos")}))
    return tmp_path


def write_scores(world: Path, rows: list[dict[str, Any]]) -> None:
    (world / "scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def read_scores(world: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (world / "scores.jsonl").read_text().splitlines()]


def mine(world: Path, *options: str, out: str = "pairs") -> int:
    source = [] if any(each.startswith("--from") for each in options) else ["--scores", str(world / "scores.jsonl")]
    return main(["mine", *source, "--out", str(world / out), *options])


def named(world: Path, out: str = "pairs", name: str = "metadata.jsonl") -> list[tuple[str, str]]:
    return [(pair.chosen.video, pair.rejected.video) for pair in load_pairs(world / out, name)]


PAIRS = [("p1/a.mp4", "p1/c.mp4"), ("p1/a.mp4", "p1/b.mp4"), ("test/b.mp4", "test/a.mp4"), ("test/c.mp4", "test/a.mp4")]


def test_pairs_ties_and_the_audit(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mine(world) == 0
    assert named(world) == PAIRS
    assert named(world, name="ties.jsonl") == [("p1/b.mp4", "p1/c.mp4"), ("test/b.mp4", "test/c.mp4")]
    first = load_pairs(world / "pairs")[0]
    assert (first.prompt_id, first.prompt, first.rule) == ("p1", PROMPTS[0], "no_regression")
    assert first.margin == pytest.approx(0.41)
    assert first.probability == pytest.approx(0.99813, abs=1e-5)
    assert (first.chosen.reward, first.chosen.reward_std, first.rejected.scores["mechanics"]) == (0.9, 0.1, 0.49)
    assert first.chosen.path.read_bytes() == (world / "videos/p1/a.mp4").read_bytes()
    assert first.chosen.path.stem == first.chosen.sha256 == hashlib.sha256(first.chosen.path.read_bytes()).hexdigest()
    assert len(list((world / "pairs/videos").iterdir())) == 6
    report = json.loads((world / "pairs/report.json").read_text())
    assert (report["pairs"], report["ties"], report["compared"]) == (4, 2, 6)
    assert report["videos_unused"] == {"error": 1}
    assert report["unused"] == [{"prompt_id": "p1", "video": "p1/d.mp4", "reason": "error", "error": "is damaged"}]
    assert report["gains"]["mechanics"]["mean"] == pytest.approx((0.41 + 0.4 + 0.6 + 0.6) / 4)
    assert report["gains"]["depth_3d"] is None
    assert report["probability"]["0.5"] == pytest.approx(0.99906, abs=1e-5)
    assert report["most_pairs_of_a_video"] == 2
    assert json.loads((world / "pairs/mine.run.json").read_text())["config"]["rule"] == "no_regression"
    printed = capsys.readouterr()
    assert "mechanics" in printed.out
    assert "pairs: 4, from 2 of 2 prompts; ties: 2; compared: 6" in printed.err
    assert "videos unused: 1: 1 error" in printed.err


@pytest.mark.parametrize("out", ["pairs", "test-set"])
def test_datasets_loads_two_video_columns(world: Path, out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    assert mine(world, out=out) == 0
    loaded = datasets.load_dataset("videofolder", data_dir=str(world / out), cache_dir=str(world / "cache"))
    assert list(loaded) == ["train"]
    rows = loaded["train"]
    assert isinstance(rows.features["chosen"], datasets.Video)
    assert isinstance(rows.features["rejected"], datasets.Video)
    plain = rows.cast_column("chosen", datasets.Video(decode=False)).cast_column(
        "rejected", datasets.Video(decode=False)
    )
    assert [(row["chosen_video"], row["rejected_video"]) for row in plain] == PAIRS
    for row in plain:
        for side in ("chosen", "rejected"):
            found = Path(row[side]["path"])
            assert hashlib.sha256(found.read_bytes()).hexdigest() == row[f"{side}_sha256"]
    assert plain[0]["chosen_scores"]["mechanics"] == 0.9
    assert plain[0]["prompt"] == PROMPTS[0]


def test_rows_that_show_a_columns_type_come_first() -> None:
    rows = [{"a": 1, "s": {"x": None}}, {"a": 2, "s": {"x": None}}, {"a": 3, "s": {"x": 0.5}}, {"a": 4, "s": {"x": 1}}]
    assert [row["a"] for row in typed_first(rows)] == [1, 3, 2, 4]


def test_videos_are_linked_or_copied(world: Path) -> None:
    assert mine(world) == 0
    assert mine(world, "--copy", out="copied") == 0
    linked, copied = load_pairs(world / "pairs")[0].chosen.path, load_pairs(world / "copied")[0].chosen.path
    assert os.path.samefile(linked, world / "videos/p1/a.mp4")
    assert not os.path.samefile(copied, world / "videos/p1/a.mp4")


def test_a_link_that_cannot_be_made_is_a_copy(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("another file system")

    monkeypatch.setattr(os, "link", refuse)
    assert mine(world) == 0
    found = load_pairs(world / "pairs")[0].chosen
    assert found.path.read_bytes() == (world / "videos" / found.video).read_bytes()
    assert not os.path.samefile(found.path, world / "videos" / found.video)


def test_a_dry_run_prints_and_writes_nothing(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(path.name for path in world.iterdir())
    assert mine(world, "--dry_run") == 0
    assert "pairs: 4, from 2 of 2 prompts" in capsys.readouterr().err
    assert sorted(path.name for path in world.iterdir()) == before


def test_only_the_first_prompts(world: Path) -> None:
    assert mine(world, "--limit", "1") == 0
    assert named(world) == PAIRS[:2]


def test_nothing_is_replaced_unasked_and_stale_videos_go(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mine(world) == 0
    assert mine(world, "--limit", "1") == 2
    assert "give --overwrite" in capsys.readouterr().err
    assert named(world) == PAIRS
    assert mine(world, "--limit", "1", "--overwrite") == 0
    assert {path.stem for path in (world / "pairs/videos").iterdir()} == {
        side.sha256 for pair in load_pairs(world / "pairs") for side in (pair.chosen, pair.rejected)
    }
    assert mine(world, "--format", "videodpo", "--overwrite") == 0
    assert {path.name for path in (world / "pairs").iterdir() if path.is_file()} == {
        "metadata.json", "pair.json", "report.json", "mine.run.json",
    }  # fmt: skip
    assert not any((world / "pairs/videos").iterdir())
    (world / "mine").mkdir()
    (world / "mine/thesis.txt").write_text("years of work")
    assert mine(world, "--overwrite", out="mine") == 2
    assert "did not write" in capsys.readouterr().err


def test_no_pair_leaves_with_3_and_writes_nothing(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mine(world, "--min_margin", "0.95") == 3
    assert "nothing written" in capsys.readouterr().err
    assert not (world / "pairs").exists()


def test_rows_without_a_hash_are_hashed(world: Path) -> None:
    rows = read_scores(world)
    for row in rows:
        del row["sha256"]
    (world / "videos/test/c.mp4").write_bytes((world / "videos/test/b.mp4").read_bytes())
    write_scores(world, rows)
    assert mine(world) == 0
    assert named(world) == PAIRS[:3]
    report = json.loads((world / "pairs/report.json").read_text())
    assert report["videos_unused"]["the same content as another candidate"] == 1


def change_prompt(world: Path) -> None:
    text = (world / "prompts.jsonl").read_text()
    (world / "prompts.jsonl").write_text(text.replace("A lamp turns on", "A lamp turns off"))


def drop_prompt(world: Path) -> None:
    (world / "prompts.jsonl").write_text((world / "prompts.jsonl").read_text().splitlines()[0])


def leave_folder(world: Path) -> None:
    rows = read_scores(world)
    rows[0]["video"] = "../scores.jsonl"
    write_scores(world, rows)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda world: (world / "videos/p1/a.mp4").unlink(), [], "does not exist"),
        (lambda world: (world / "videos/p1/a.mp4").write_bytes(b"other"), [], "is not the one that was scored"),
        (lambda world: (world / "scores.jsonl.run.json").unlink(), [], "give --prompts"),
        (change_prompt, [], "is not what was scored"),
        (drop_prompt, [], "'test' is not in the prompt file"),
        (leave_folder, [], "leaves the folder"),
        (None, ["--rule", "dimension"], "go together"),
        (None, ["--rule", "beauty"], "invalid choice"),
        (None, ["--min_probability", "0.3"], "min_probability"),
        (None, ["--aspect", "TA"], "--from_videoalign"),
        (None, ["--from_videodpo", "nowhere", "--scores", "x"], "give one of"),
        (None, ["--from_videodpo", "nowhere"], "nowhere does not exist"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    world: Path,
    change: Callable[[Path], Any] | None,
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if change:
        change(world)
    try:
        code = mine(world, *options)
    except SystemExit as leaving:
        code = int(leaving.code or 0)
    assert code == 2
    assert message in capsys.readouterr().err
    assert not (world / "pairs").exists()


def test_videoalign_there_and_back(world: Path) -> None:
    assert mine(world, "--format", "videoalign", out="align") == 0
    with (world / "align/data.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert [row["TA"] for row in rows].count("same") == 2
    assert {row["VQ"] for row in rows} == {row["MQ"] for row in rows} == {"same"}
    assert {(row["fps_A"], row["num_frames_B"]) for row in rows} == {("8", "4")}
    chosen = [row[f"path_{row['TA']}"] for row in rows if row["TA"] != "same"]
    assert all((world / "align" / path).is_file() for path in chosen)
    assert mine(world, "--from_videoalign", str(world / "align/data.csv")) == 0
    pairs = load_pairs(world / "pairs")
    assert [pair.prompt_id for pair in pairs] == ["p1", "p1", "test", "test"]
    hashes = {hashlib.sha256((world / "videos" / name).read_bytes()).hexdigest(): name for _, name in videos(world)}
    assert [(hashes[pair.chosen.sha256], hashes[pair.rejected.sha256]) for pair in pairs] == PAIRS
    assert pairs[0].labels == {"VQ": "same", "MQ": "same", "TA": "chosen"}
    assert np.isnan(pairs[0].probability)
    assert len(load_pairs(world / "pairs", "ties.jsonl")) == 2


def videos(world: Path) -> list[tuple[str, str]]:
    return [(row["prompt_id"], row["video"]) for row in read_scores(world)]


CSV = "path_A,path_B,prompt,VQ,MQ,TA,fps_A,num_frames_A,fps_B,num_frames_B,A_model\n"


def align_csv(world: Path, *lines: str) -> str:
    path = world / "videos/people.csv"
    path.write_text(CSV + "".join(f"{line},8,4,8,4,m\n" for line in lines))
    return str(path)


def test_labels_of_people_decide_by_aspect_or_by_most(world: Path) -> None:
    path = align_csv(
        world,
        './p1/a.mp4,./p1/b.mp4,"A ball, red",A,B,B',
        "p1/b.mp4,p1/c.mp4,A ball,A,B,same",
        "p1/a.mp4,p1/c.mp4,A ball,,,A",
        "p1/a.mp4,p1/a.mp4,A ball,A,A,A",
        "p1/c.mp4,p1/a.mp4,A ball,A,A,A",
    )
    assert mine(world, "--from_videoalign", path) == 0
    pairs, (tie,) = load_pairs(world / "pairs"), load_pairs(world / "pairs", "ties.jsonl")
    assert [(pair.chosen.video, pair.rejected.video) for pair in pairs] == [
        ("p1/b.mp4", "p1/a.mp4"),
        ("p1/a.mp4", "p1/c.mp4"),
    ]
    assert pairs[0].labels == {"VQ": "rejected", "MQ": "chosen", "TA": "chosen"}
    assert pairs[1].labels == {"TA": "chosen"}
    assert pairs[0].prompt_id != pairs[1].prompt_id == tie.prompt_id
    report = json.loads((world / "pairs/report.json").read_text())
    assert report["rejected"] == {"both videos have the same content": 1, "pair given twice": 1}
    path = align_csv(world, "p1/a.mp4,p1/b.mp4,A ball,A,B,B")
    assert mine(world, "--from_videoalign", path, "--aspect", "VQ", out="by-vq") == 0
    assert named(world, "by-vq") == [("p1/a.mp4", "p1/b.mp4")]
    assert mine(world, "--from_videoalign", path, "--format", "videoalign", out="again") == 0
    with (world / "again/data.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["VQ"] != row["MQ"] == row["TA"]


@pytest.mark.parametrize(
    ("line", "options", "message"),
    [
        ("p1/a.mp4,gone.mp4,A ball,A,B,B", [], "people.csv:2: video"),
        ("p1/a.mp4,../scores.jsonl,A ball,A,B,B", [], "leaves the folder"),
        ("p1/a.mp4,/etc/hostname,A ball,A,B,B", [], "must be relative"),
        ("p1/a.mp4,p1/b.mp4,A ball,A,C,B", [], "column 'MQ' must be A, B or same, not 'C'"),
        ("p1/a.mp4,p1/b.mp4,,A,B,B", [], "must be filled"),
        ("p1/a.mp4,p1/b.mp4,A ball,,,", [], "no label"),
        ("p1/a.mp4,p1/b.mp4,A ball,A,B,B", ["--aspect", "Overall"], "column missing: Overall"),
    ],
)
def test_bad_csv(world: Path, line: str, options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert mine(world, "--from_videoalign", align_csv(world, line), *options) == 2
    assert message in capsys.readouterr().err


def test_videodpo_there_and_back(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mine(world, "--format", "videodpo", out="dpo") == 0
    assert "ties are left out" in capsys.readouterr().err
    clips = json.loads((world / "dpo/metadata.json").read_text())
    pairs = json.loads((world / "dpo/pair.json").read_text())
    assert [(pair["video1"], pair["video2"], pair["label"], pair["score"]) for pair in pairs] == [
        (2 * i, 2 * i + 1, 0, 1.0) for i in range(4)
    ]
    assert clips[3] == {
        "basic": {"clip_duration": 0.5, "clip_path": "losevideos/000001.mp4", "globalidx": 1},
        "misc": {"frame_caption": [PROMPTS[0]]},
    }
    assert (world / "dpo/winvideos/000001.mp4").read_bytes() == (world / "videos/p1/a.mp4").read_bytes()
    assert mine(world, "--from_videodpo", str(world / "dpo")) == 0
    assert [(pair.chosen.video, pair.rejected.video) for pair in load_pairs(world / "pairs")] == [
        (f"winvideos/{i:06d}.mp4", f"losevideos/{i:06d}.mp4") for i in range(4)
    ]
    for clip in clips:
        clip["basic"]["clip_path"] = f"/elsewhere/{clip['basic']['clip_path']}"
    (world / "dpo/metadata.json").write_text(json.dumps(clips))
    assert mine(world, "--from_videodpo", str(world / "dpo"), "--limit", "1", out="absolute") == 0
    assert len(load_pairs(world / "absolute")) == 2


@pytest.mark.parametrize(
    ("file", "key", "value", "message"),
    [
        ("pair.json", "video2", 99, "pair 1: field 'video2'"),
        ("pair.json", "video1", True, "pair 1: field 'video1'"),
        ("pair.json", "frame_caption", [], "must be the prompt's text"),
        ("metadata.json", "basic", {}, "basic.clip_path"),
        ("metadata.json", "basic", {"clip_path": "../../scores.jsonl"}, "leaves the folder"),
        ("metadata.json", "basic", {"clip_path": "/winvideos/gone.mp4"}, "does not exist"),
    ],
)
def test_bad_videodpo_folders(
    world: Path, file: str, key: str, value: Any, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mine(world, "--format", "videodpo", out="dpo") == 0
    records = json.loads((world / "dpo" / file).read_text())
    records[0][key] = value
    (world / "dpo" / file).write_text(json.dumps(records))
    assert mine(world, "--from_videodpo", str(world / "dpo")) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("chosen_file_name", "../scores.jsonl", "leaves the folder"),
        ("chosen_sha256", "ab", "64 hex digits"),
        ("prompt_id", "../p", "bad id"),
        ("probability", 1.5, "probability"),
        ("prompt", None, "prompt"),
    ],
)
def test_bad_pair_files(world: Path, key: str, value: Any, message: str) -> None:
    assert mine(world) == 0
    path = world / "pairs/metadata.jsonl"
    first = json.loads(path.read_text().splitlines()[0])
    path.write_text(json.dumps({**first, key: value}) + "\n")
    with pytest.raises(InputError, match=message):
        load_pairs(world / "pairs")
    path.write_text("")
    with pytest.raises(InputError, match="holds no pair"):
        load_pairs(world / "pairs")
