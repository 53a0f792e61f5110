"""Prompt files in three forms, and errors that name file, id and field."""

import json

import pytest

from reward.dimensions import CHECK_NAMES, DIMENSIONS, NAMES, dimension_name
from reward.errors import InputError
from reward.prompts import load_prompts

RECORD = {
    "verification_checks": [
        {"check_type": "Attribution Correctness", "question": "Is it red?", "check": True},
        {"check_type": "2d_layout", "question": "Is it left?"},
        {"check_type": "3d_depth", "question": "Is it near?", "check": False},
    ],
    "t2v_following_prompt": {"t2v_prompt": "A red ball."},
    "t2v_eval_event_info": {
        "verification_plan": [
            {"event_id": 1, "event_description": "It falls."},
            {"event_id": 2, "event_description": "It bounces."},
        ]
    },
}


def write(tmp_path, content, name="prompts.json"):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def changed(**changes):
    return {"ball": json.loads(json.dumps(RECORD)) | changes}


def test_reads_videoverse_as_it_is(tmp_path):
    prompt = load_prompts(write(tmp_path, {"ball": RECORD}))["ball"]
    assert prompt.text == "A red ball."
    assert prompt.events == ("It falls.", "It bounces.")
    assert [check.dimension for check in prompt.checks] == ["attribution_correctness", "layout_2d", "depth_3d"]
    assert [check.asked for check in prompt.checks] == [True, True, False]
    assert [check.question for check in prompt.asked_checks] == ["Is it red?", "Is it left?"]
    assert prompt.to_videoverse() == RECORD


def test_jsonl_gives_the_same_prompt_with_official_spellings_on_the_way_out(tmp_path):
    row = {
        "prompt_id": "ball",
        "prompt": "A red ball.",
        "events": ["It falls.", "It bounces."],
        "checks": [
            {"dimension": "attribution_correctness", "question": "Is it red?"},
            {"dimension": "2d_layout", "question": "Is it left?"},
            {"dimension": "depth_3d", "question": "Is it near?", "check": False},
        ],
    }
    official = {"prompt_id": "ball", **RECORD}
    (one,) = load_prompts(write(tmp_path, json.dumps(row), "a.jsonl")).values()
    (other,) = load_prompts(write(tmp_path, json.dumps(official) + "\n\n", "b.jsonl")).values()
    assert one == other
    types = [check["check_type"] for check in one.to_videoverse()["verification_checks"]]
    assert types == ["Attribution Correctness", "2d_layout", "3d_depth"]


def test_plain_text_prompts_ask_in_every_dimension_and_quote_the_prompt(tmp_path):
    prompts = load_prompts(write(tmp_path, 'A "big" dog.\n\n  A cat.  \n', "prompts.txt"))
    assert list(prompts) == ["p00001", "p00002"]
    dog = prompts["p00001"]
    assert dog.events == ('A "big" dog.',)
    assert [check.dimension for check in dog.checks] == list(CHECK_NAMES)
    assert all("\"A 'big' dog.\"" in check.question for check in dog.checks)


def test_a_byte_order_mark_and_line_separators_inside_strings_are_no_trouble(tmp_path):
    text = "\ufeff" + json.dumps({"prompt_id": "x", "prompt": "One\u2028two."}, ensure_ascii=False) + "\n"
    assert load_prompts(write(tmp_path, text, "a.jsonl"))["x"].text == "One\u2028two."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "must be an object"),
        ("{}", "holds no prompt"),
        ('{"a": {}, "a": {}}', "duplicate key 'a'"),
        ({"../a": RECORD}, "bad id '../a'"),
        ({"con.x": RECORD}, "device name"),
        ({"ball": 3}, "id 'ball' must be an object"),
        (changed(t2v_following_prompt={}), "id 'ball': field 't2v_prompt' is missing"),
        (changed(t2v_following_prompt={"t2v_prompt": "  "}), "'t2v_prompt' is empty"),
        (changed(t2v_following_prompt={"t2v_prompt": 7}), "'t2v_prompt' must be a string, got int"),
        (changed(verification_checks={}), "checks must be a list"),
        (changed(verification_checks=[{"check_type": "Taste", "question": "?"}]), "check 1: unknown dimension 'Taste'"),
        (changed(verification_checks=[{"check_type": "Mechanics"}]), "check 1: field 'question' is missing"),
        (
            changed(verification_checks=[{"check_type": "Mechanics", "question": "?", "check": "yes"}]),
            "'check' must be true or false",
        ),
        (changed(verification_checks=[{"check_type": "Event Following", "question": "?"}]), "measured by the events"),
        (changed(t2v_eval_event_info={"verification_plan": [{}]}), "event 1: field 'event_description' is missing"),
        (
            changed(t2v_eval_event_info={"verification_plan": [{"event_description": "x"}] * 27}),
            "27 events; at most 26",
        ),
    ],
)
def test_errors_name_file_id_and_field(tmp_path, content, message):
    path = write(tmp_path, content)
    with pytest.raises(InputError) as caught:
        load_prompts(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('{"prompt_id": "a", "prompt": "x"}\n{"prompt_id": "a", "prompt": "y"}', "'a' is given twice"),
        ('{"prompt_id": "a"}', ":1: id 'a': field 'prompt' is missing"),
        ('{"prompt": "x"}', ":1: field 'prompt_id' is missing"),
        ("\n[1]", ":2: expected a JSON object"),
    ],
)
def test_jsonl_errors_name_the_line(tmp_path, lines, message):
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        load_prompts(write(tmp_path, lines, "a.jsonl"))


@pytest.mark.parametrize("path", ["gone.json", "."])
def test_a_file_that_is_not_there_is_named(tmp_path, path):
    with pytest.raises(InputError, match="prompt file"):
        load_prompts(tmp_path / path)


def test_binary_files_are_refused(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(InputError, match="not a UTF-8 text file"):
        load_prompts(path)


def test_dimensions_are_known_in_both_spellings():
    assert len(NAMES) == 10
    for dimension in DIMENSIONS:
        assert dimension_name(dimension.name) == dimension_name(dimension.official.upper()) == dimension.name
    with pytest.raises(InputError, match="known are"):
        dimension_name("taste")
