import json

import pytest

from reward.errors import InputError
from reward.labels import load_labels

ROW = {
    "prompt_id": "p",
    "video": "p.mp4",
    "t2v_prompt": "A ball falls.",
    "kind": "check",
    "dimension": "2d_layout",
    "question": "Is it left?",
    "state": "answer",
    "answer": "yes",
    "p_yes": 0.8,
    "teacher": {"name": "t", "model_version": "1", "frames": 8},
    "a_key_of_tomorrow": 1,
}
ORDER = ROW | {
    "kind": "order",
    "dimension": "event_following",
    "events": ["it falls", "it glows", "it stops"],
    "p_yes": None,
}


def written(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_file_or_its_folder_is_read(tmp_path):
    path = written(tmp_path / "labels.jsonl", ROW, ORDER | {"answer": "CA"})
    check, order = load_labels(path)
    assert load_labels(tmp_path) == [check, order]
    assert (check.dimension, check.yes, check.p_yes, check.teacher_name) == ("layout_2d", True, 0.8, "t 1")
    assert (str(check.path), check.content) == ("p.mp4", "p.mp4")
    assert order.order_share == pytest.approx(1 / 3)
    assert check.where.endswith("labels.jsonl:1")


def test_every_state_is_kept_and_a_bare_teacher_name_will_do(tmp_path):
    rows = [ROW | {"state": s, "answer": None, "p_yes": None, "raw": "?", "teacher": s} for s in ("refusal", "error")]
    assert [row.state for row in load_labels(written(tmp_path / "l.jsonl", *rows))] == ["refusal", "error"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (ORDER | {"answer": "AD"}, "order 'AD' is not made of different letters of 'ABC'"),
        (ORDER | {"answer": "AA"}, "not made of different letters"),
        (ORDER | {"answer": None}, "not made of different letters"),
        (ORDER | {"events": None, "answer": "A"}, "an order question needs its 'events'"),
        (ROW | {"p_yes": 1.2}, "field 'p_yes'"),
        (ROW | {"p_yes": float("nan")}, "field 'p_yes'"),
        (ROW | {"dimension": "beauty"}, "unknown dimension 'beauty'"),
        ({key: value for key, value in ROW.items() if key != "state"}, "field 'state': Field required"),
    ],
)
def test_a_bad_row_is_named_by_its_line(tmp_path, row, message):
    with pytest.raises(InputError, match=r"l\.jsonl:2") as caught:
        load_labels(written(tmp_path / "l.jsonl", ROW, row))
    assert message in str(caught.value)


def test_parquet_points_to_the_jsonl_and_an_empty_file_to_the_verb(tmp_path):
    with pytest.raises(InputError, match=r"give the labels\.jsonl"):
        load_labels(tmp_path / "labels.parquet")
    with pytest.raises(InputError, match="worldcritic label"):
        load_labels(written(tmp_path / "l.jsonl"))
