import json
import math

import pytest

from distill.rows import load_rows, write_rows
from reward.errors import InputError
from reward.wording import order_text

USER_ROW = {
    "video_path": "videos/a.mp4",
    "t2v_prompt": "A ball falls.",
    "dimension": "mechanics",
    "question": "Does the ball fall?",
    "target": "Yes",
}
EVENTS = ["a ball falls", "the lamp goes on", "a box slides"]


def written(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_five_keys_suffice(tmp_path):
    (row,) = load_rows(written(tmp_path / "t.jsonl", USER_ROW))
    assert (row.kind, row.teacher_p, row.weight, row.prompt_id, row.events) == ("check", 1.0, 1.0, None, None)
    assert (row.content, row.positive) == ("videos/a.mp4", True)
    assert row.prompt_key == load_rows(tmp_path / "t.jsonl")[0].prompt_key != "A ball falls."


@pytest.mark.parametrize(("given", "target", "p"), [("no", "No", 0.0), (" YES ", "Yes", 1.0)])
def test_targets_are_read_in_any_case(tmp_path, given, target, p):
    (row,) = load_rows(written(tmp_path / "t.jsonl", USER_ROW | {"target": given}))
    assert (row.target, row.teacher_p) == (target, p)


def test_official_spellings_of_dimensions_are_read(tmp_path):
    (row,) = load_rows(written(tmp_path / "t.jsonl", USER_ROW | {"dimension": "2d_layout", "extra": [1]}))
    assert row.dimension == "layout_2d"


@pytest.mark.parametrize(
    ("target", "order", "as_written"),
    [("A C", "AC", "A C"), ("CA", "CA", "C A"), ("B, A", "BA", "B A"), ("none", "", "None")],
)
def test_orders_are_read_with_the_events_of_their_question(tmp_path, target, order, as_written):
    asked = {"dimension": "Event Following", "question": order_text(EVENTS), "target": target}
    (row,) = load_rows(written(tmp_path / "t.jsonl", USER_ROW | asked))
    assert (row.kind, row.order, row.target, row.events) == ("order", order, as_written, tuple(EVENTS))
    assert math.isnan(row.teacher_p)
    assert not row.positive


def test_all_events_in_order_are_the_asked_for_answer(tmp_path):
    asked = {"dimension": "event_following", "question": order_text(EVENTS), "target": "A B C"}
    assert load_rows(written(tmp_path / "t.jsonl", USER_ROW | asked))[0].positive


def test_yes_no_questions_about_events_are_checks(tmp_path):
    asked = {"dimension": "event_following", "question": "Does the ball fall before the lamp goes on?"}
    (row,) = load_rows(written(tmp_path / "t.jsonl", USER_ROW | asked))
    assert (row.kind, row.target) == ("check", "Yes")


def test_rows_survive_the_round_trip(tmp_path):
    rows = load_rows(
        written(
            tmp_path / "t.jsonl",
            USER_ROW | {"teacher_p": 0.75, "weight": 2.0, "prompt_id": "p", "sha256": "0" * 64, "teacher": "t"},
            USER_ROW | {"dimension": "event_following", "question": "In which order?", "target": "A", "events": EVENTS},
            USER_ROW | {"target": "No", "generator": "g", "mismatched": True},
        )
    )
    write_rows(tmp_path / "again.jsonl", rows)
    again = load_rows(tmp_path / "again.jsonl")
    assert [row.to_json() for row in again] == [row.to_json() for row in rows]
    assert again[0].teacher_p == 0.75
    assert len({frozenset(json.loads(line)) for line in (tmp_path / "again.jsonl").read_text().splitlines()}) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": "Maybe"}, "'Maybe' is not Yes or No"),
        ({"target": 1}, "field 'target'"),
        ({"target": None}, "field 'target'"),
        ({"question": ""}, "field 'question'"),
        ({"video_path": " "}, "field 'video_path'"),
        ({"dimension": "beauty"}, "unknown dimension 'beauty'"),
        ({"teacher_p": 1.5}, "field 'teacher_p'"),
        ({"teacher_p": 0.2}, "target 'Yes' contradicts teacher_p 0.2"),
        ({"weight": -1}, "field 'weight'"),
        ({"weight": "2"}, "field 'weight'"),
        ({"kind": "order"}, "has the dimension event_following"),
        ({"dimension": "event_following", "target": "A A"}, "neither 'None' nor different letters"),
        ({"dimension": "event_following", "target": ""}, "neither 'None' nor different letters"),
        ({"dimension": "event_following", "target": "A D", "events": EVENTS}, "different letters of 'ABC'"),
        ({"dimension": "event_following", "target": "A", "teacher_p": 0.9}, "an order question has none"),
    ],
)
def test_a_bad_row_is_named_with_file_line_and_field(tmp_path, change, message):
    path = written(tmp_path / "t.jsonl", USER_ROW, USER_ROW | change)
    with pytest.raises(InputError, match=r"t\.jsonl:2: ") as caught:
        load_rows(path)
    assert message in str(caught.value)


def test_a_missing_key_and_an_empty_file_are_errors(tmp_path):
    with pytest.raises(InputError, match=r"t\.jsonl:1: .*field 'question': Field required"):
        load_rows(written(tmp_path / "t.jsonl", {k: v for k, v in USER_ROW.items() if k != "question"}))
    with pytest.raises(InputError, match="holds no row"):
        load_rows(written(tmp_path / "t.jsonl"))
    with pytest.raises(InputError, match="does not exist"):
        load_rows(tmp_path / "gone.jsonl")
