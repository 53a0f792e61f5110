import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reward.errors import InputError
from reward.scores import load_scores

ROW = {
    "prompt_id": "p1",
    "video": "p1.mp4",
    "sha256": None,
    "status": "ok",
    "error": None,
    "reward": 0.5,
    "reward_std": 0.1,
    "dimensions": {"mechanics": 0.5, "layout_2d": None},
    "questions": [{"dimension": "2d_layout", "question": "Left?", "p_yes": 1, "answer_mass": 0.9}],
    "events": {"n": 2, "expected_lcs": 1.5, "order": "BA", "order_probability": 0.4},
    "critic": {"name": "toy"},
    "something_new": [1, 2],
}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(*rows: dict[str, Any] | str) -> Path:
        path = tmp_path / "scores.jsonl"
        path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
        return path

    return write


def test_a_row_is_read_with_nan_for_null(write: Callable[..., Path]) -> None:
    (row,) = load_scores(write(ROW))
    assert row.scored
    assert row.questions[0].dimension == "layout_2d"
    assert row.questions[0].p_yes == 1.0
    assert row.events is not None
    assert row.events.order == "BA"
    assert math.isnan(row.dimensions["layout_2d"])
    assert row.failure is None


def test_a_failed_row_needs_no_answers(write: Callable[..., Path]) -> None:
    failed = {"prompt_id": "p1", "video": "p1.mp4", "status": "error", "error": "is empty", "reward": None}
    (row,) = load_scores(write(failed))
    assert not row.scored
    assert row.failure == "error: is empty"


def test_a_partial_row_has_a_reward_and_an_ok_one_may_have_none(write: Callable[..., Path]) -> None:
    partial, empty = load_scores(write({**ROW, "status": "partial"}, {**ROW, "video": "b.mp4", "reward": None}))
    assert partial.scored
    assert not empty.scored
    assert empty.failure == "no reward"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reward": "0.5"}, "field 'reward'"),
        ({"reward": True}, "field 'reward'"),
        ({"reward": float("inf")}, "field 'reward'"),
        ({"reward": float("nan")}, "field 'reward'"),
        ({"reward_std": -0.1}, "field 'reward_std'"),
        ({"video": ""}, "field 'video'"),
        ({"video": 7}, "field 'video'"),
        ({"prompt_id": "../p1"}, "bad id"),
        ({"prompt_id": 1}, "field 'prompt_id'"),
        ({"dimensions": {"beauty": 0.5}}, "unknown dimension 'beauty'"),
        ({"dimensions": [0.5]}, "field 'dimensions'"),
        ({"questions": [{"dimension": "beauty", "question": "?", "p_yes": 0.5}]}, "unknown dimension 'beauty'"),
        ({"questions": [{"dimension": "mechanics", "question": "?", "p_yes": 1.1}]}, "field 'questions.0.p_yes'"),
        ({"questions": [{"dimension": "mechanics", "question": "?"}]}, "field 'questions.0.p_yes'"),
        ({"questions": {"dimension": "mechanics"}}, "field 'questions'"),
        ({"events": {"n": 2, "expected_lcs": 2.1, "order": "A"}}, "more than the 2 events"),
        ({"events": {"n": 2, "expected_lcs": 1.0, "order": "C"}}, "not made of different letters"),
        ({"events": {"n": 2, "expected_lcs": 1.0, "order": "AA"}}, "not made of different letters"),
        ({"events": {"n": 0, "expected_lcs": 0.0, "order": ""}}, "field 'events.n'"),
        ({"critic": 3}, "field 'critic'"),
        ({"status": "error"}, "status 'error' with a reward"),
    ],
)
def test_a_bad_row_is_refused_with_its_line(write: Callable[..., Path], change: dict[str, Any], message: str) -> None:
    path = write({**ROW, "video": "first.mp4"}, {**ROW, **change})
    with pytest.raises(InputError, match=message) as caught:
        load_scores(path)
    assert "scores.jsonl:2" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_kind_of_file_is_refused(write: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match=r"not a row of `worldcritic score`: field 'video'"):
        load_scores(write({"prompt_id": "p1", "prompt": "A ball falls."}))
    with pytest.raises(InputError, match="not valid JSON"):
        load_scores(write("prompt_id,video"))
    with pytest.raises(InputError, match="expected a JSON object"):
        load_scores(write("[1]"))
    with pytest.raises(InputError, match="holds no row"):
        load_scores(write())


def test_a_video_scored_twice_is_refused_with_both_lines(write: Callable[..., Path]) -> None:
    path = write(ROW, {**ROW, "video": "other.mp4"}, {**ROW, "reward": 0.7})
    with pytest.raises(InputError, match=r"scores.jsonl:3: video 'p1.mp4' .* first at .*scores.jsonl:1"):
        load_scores(path)


def test_rows_from_elsewhere_may_name_their_critic_or_leave_it_out(write: Callable[..., Path]) -> None:
    least = {"prompt_id": "p1", "video": "p1.mp4", "status": "ok", "reward": 0.5}
    assert load_scores(write(least))[0].critic is None
    assert load_scores(write({**least, "critic": "toy"}))[0].critic == {"name": "toy"}
    with pytest.raises(InputError, match="another critic"):
        load_scores(write(least, {**least, "video": "b.mp4", "critic": "toy"}))


def test_two_critics_are_refused_by_name_and_difference(write: Callable[..., Path]) -> None:
    other = {**ROW, "video": "b.mp4", "critic": {"name": "qwen", "frames": 8}}
    with pytest.raises(InputError, match=r"'toy' and 'qwen' differ in name 'toy' against 'qwen', frames"):
        load_scores(write(ROW, other))
