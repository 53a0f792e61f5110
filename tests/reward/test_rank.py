import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from worldcritic import main


def row(prompt: str, video: str, reward: float | None, std: float | None = 0.1, **more: Any) -> dict[str, Any]:
    status = "ok" if reward is not None else "error"
    error = None if reward is not None else "is damaged"
    base = {"prompt_id": prompt, "video": video, "status": status, "error": error, "critic": {"name": "toy"}}
    return {**base, "reward": reward, "reward_std": std if reward is not None else None, **more}


@pytest.fixture
def rank(tmp_path: Path) -> Callable[..., tuple[int, list[dict[str, Any]], dict[str, Any]]]:
    """Rank rows with options; returns exit code, rows by prompt in file order, and the summary."""

    def rank(rows: list[dict[str, Any]], *options: str) -> tuple[int, list[dict[str, Any]], dict[str, Any]]:
        scores, out = tmp_path / "scores.jsonl", tmp_path / "best.jsonl"
        scores.write_text("".join(json.dumps(row) + "\n" for row in rows))
        code = main(["rank", "--scores", str(scores), "--out", str(out), *options])
        if not out.exists():
            return code, [], {}
        summary = json.loads((tmp_path / "best.jsonl.summary.json").read_text())
        return code, [json.loads(line) for line in out.read_text().splitlines()], summary

    return rank


POOL = [
    row("p1", "p1/a.mp4", 0.4),
    row("p1", "p1/b.mp4", 0.9),
    row("p1", "p1/c.mp4", 0.5),
    row("p2", "p2/a.mp4", 0.3),
    row("p2", "p2/b.mp4", 0.2),
    row("p2", "p2/c.mp4", None),
]


def test_the_best_of_each_prompt(rank: Callable[..., Any], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, (first, second), summary = rank(POOL)
    assert code == 0
    assert (first["prompt_id"], first["video"], first["reward"]) == ("p1", "p1/b.mp4", 0.9)
    assert first["margin"] == pytest.approx(0.4)
    assert first["gain_over_mean"] == pytest.approx(0.3)
    assert [candidate["video"] for candidate in first["candidates"]] == ["p1/b.mp4", "p1/c.mp4", "p1/a.mp4"]
    assert (second["num_candidates"], second["num_failed"]) == (3, 1)
    assert second["failed"] == [{"video": "p2/c.mp4", "reason": "error: is damaged"}]
    assert [point["prompts"] for point in summary["curve"]] == [2, 2, 1]
    assert summary["curve"][1]["reward"] == pytest.approx(((0.9 * 2 + 0.5) / 3 + 0.3) / 2)
    printed = capsys.readouterr()
    assert "p1/b.mp4" in printed.out
    assert "5 of 6 videos have a reward" in printed.err
    assert (tmp_path / "best.jsonl.curve.svg").exists()
    assert (tmp_path / "best.jsonl.run.json").exists()


def test_the_lower_bound_prefers_what_is_sure(rank: Callable[..., Any]) -> None:
    rows = [row("p", "bold.mp4", 0.9, 0.4), row("p", "sure.mp4", 0.8, 0.05)]
    assert rank(rows)[1][0]["video"] == "bold.mp4"
    code, (picked,), _ = rank(rows, "--lower_bound", "1", "--overwrite")
    assert code == 0
    assert (picked["video"], picked["lower_bound"], picked["lower_bound_k"]) == ("sure.mp4", 0.75, 1.0)


def test_ties_are_flagged_and_broken_by_name(rank: Callable[..., Any]) -> None:
    rows = [row("p", "c.mp4", 0.5), row("p", "b.mp4", 0.7), row("p", "a.mp4", 0.7)]
    _, (picked,), summary = rank(rows)
    assert (picked["video"], picked["tied_with"], picked["margin"]) == ("a.mp4", ["b.mp4"], 0.0)
    assert summary["prompts_tied"] == ["p"]


def test_a_prompt_where_all_failed_has_a_row_and_no_number(rank: Callable[..., Any]) -> None:
    code, (good, bad), summary = rank([row("p1", "a.mp4", 0.5), row("p2", "b.mp4", None)])
    assert code == 3
    assert good["status"] == "ok"
    assert bad["status"] == "no_candidate"
    assert bad["error"] == "none of 1 candidates has a reward"
    assert bad["reward"] is None
    assert bad["gain_over_mean"] is None
    assert summary["prompts_without_candidate"] == ["p2"]


def test_nothing_but_failures(rank: Callable[..., Any], tmp_path: Path) -> None:
    code, (bad,), summary = rank([row("p", "b.mp4", None)])
    assert code == 3
    assert bad["video"] is None
    assert summary["curve"] == []
    assert summary["gain"] is None
    assert not (tmp_path / "best.jsonl.curve.svg").exists()


def test_rewards_without_std_rank_but_are_not_corrected(rank: Callable[..., Any], tmp_path: Path) -> None:
    rows = [row("p", "a.mp4", 0.5, None), row("p", "b.mp4", 0.6, None)]
    code, (picked,), summary = rank(rows)
    assert code == 0
    assert picked["expected_true_reward"] is None
    assert (summary["true_gain"], summary["true_gain_reason"]) == (None, "some candidates carry no reward_std")
    (tmp_path / "best.jsonl").unlink()
    assert rank(rows, "--lower_bound", "1", "--overwrite")[0] == 2
    assert not (tmp_path / "best.jsonl").exists()


def test_the_correction_shrinks_the_pick(rank: Callable[..., Any]) -> None:
    rows = [row(f"p{p}", f"{p}-{c}.mp4", 0.5 + 0.1 * c, 0.1) for p in range(5) for c in range(4)]
    _, picks, summary = rank(rows)
    # Spread 0.1^2 * 5 / 3 of which noise 0.1^2: tau^2 = 0.1^2 * 2 / 3, so 0.4 of each difference is kept.
    assert summary["between_candidate_std"] == pytest.approx((0.01 * 2 / 3) ** 0.5)
    assert summary["gain"] == pytest.approx(0.15)
    assert summary["true_gain"] == pytest.approx(0.06)
    assert picks[0]["expected_true_reward"] == pytest.approx(0.65 + 0.06)


def test_rewards_within_their_noise_have_no_corrected_gain_and_say_so(
    rank: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, summary = rank([row("p", "a.mp4", 0.5, 0.3), row("p", "b.mp4", 0.6, 0.3)])
    assert summary["gain"] == pytest.approx(0.05)
    assert summary["true_gain"] == 0
    assert "differ no more than their reward_std explains" in summary["true_gain_reason"]
    assert "if reward_std is noise of each reward (the rewards" in capsys.readouterr().err


def test_winners_are_copied_by_prompt_id(rank: Callable[..., Any], tmp_path: Path) -> None:
    videos, best = tmp_path / "videos", tmp_path / "best"
    (videos / "p1").mkdir(parents=True)
    (videos / "p1" / "a.webm").write_bytes(b"one")
    (videos / "b.mp4").write_bytes(b"two")
    digest = hashlib.sha256(b"one").hexdigest()
    rows = [row("p1", "p1/a.webm", 0.9, sha256=digest), row("p1", "b.mp4", 0.1), row("p2", "b.mp4", 0.4)]
    copy = ["--copy_to", str(best), "--videos", str(videos)]
    assert rank(rows, *copy)[0] == 0
    assert {path.name: path.read_bytes() for path in best.iterdir()} == {"p1.webm": b"one", "p2.mp4": b"two"}
    for name in ("best.jsonl", "best.jsonl.summary.json", "best.jsonl.curve.svg", "best.jsonl.run.json"):
        (tmp_path / name).unlink()
    assert rank(rows, *copy)[0] == 2
    assert not (tmp_path / "best.jsonl").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"video": "gone.mp4"}, "does not exist"),
        ({"video": "../out.mp4"}, "leaves the folder"),
        ({"video": "/etc/hostname"}, "must be relative"),
        ({"sha256": "0" * 64}, "is not the one that was scored"),
        ({"video": "folder"}, "is not a file"),
    ],
)
def test_nothing_is_written_where_a_winner_cannot_be_copied(
    rank: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], message: str
) -> None:
    videos = tmp_path / "videos"
    (videos / "folder").mkdir(parents=True)
    (videos / "a.mp4").write_bytes(b"one")
    options = ["--copy_to", str(tmp_path / "best"), "--videos", str(videos)]
    assert rank([{**row("p1", "a.mp4", 0.9), **change}], *options)[0] == 2
    assert message in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"videos", "scores.jsonl"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--copy_to", "best"], "does not exist; --videos names the folder that was scored"),
        (["--copy_to", "best", "--videos", "nowhere"], "video folder nowhere does not exist"),
        (["--lower_bound", "-1"], "lower_bound"),
        (["--lower_bound", "nan"], "lower_bound"),
        (["--resamples", "10"], "resamples"),
    ],
)
def test_bad_options(
    rank: Callable[..., Any], options: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert rank(POOL, *options)[0] == 2
    assert message in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"scores.jsonl"}


def test_outputs_are_never_replaced_unasked(
    rank: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "best.jsonl.summary.json").write_text("mine")
    assert rank(POOL)[0] == 2
    assert "give --overwrite" in capsys.readouterr().err
    assert (tmp_path / "best.jsonl.summary.json").read_text() == "mine"
    assert rank(POOL, "--overwrite")[0] == 0
    scores = tmp_path / "scores.jsonl"
    before = scores.read_text()
    assert main(["rank", "--scores", str(scores), "--out", str(scores), "--overwrite"]) == 2
    assert scores.read_text() == before


def test_a_missing_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rank", "--scores", str(tmp_path / "no.jsonl"), "--out", str(tmp_path / "best.jsonl")]) == 2
    error = capsys.readouterr().err
    assert "no.jsonl does not exist" in error
    assert error.count("\n") == 1
