import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reward.errors import InputError
from reward.videoverse import load_results, official_report, write_official


def counted_by_hand(records: dict[str, Any]) -> dict[str, Any]:
    """A second implementation of the official counting, from its description: by brute force and flat lists."""

    def common(num_events: int, answer: str) -> int:
        asked = [chr(65 + i) for i in range(num_events)]
        for length in range(min(num_events, len(answer)), 0, -1):
            if set(itertools.combinations(asked, length)) & set(itertools.combinations(answer, length)):
                return length
        return 0

    def sums(pairs: list[tuple[str, bool]]) -> dict[str, int]:
        return {name: sum(yes for other, yes in pairs if other == name) for name, _ in pairs}

    videos, all_pairs = {}, []
    for identifier, record in records.items():
        info = record.get("t2v_eval_event_info", {})
        plan = info.get("verification_plan", None)
        checks = record.get("verification_checks", None)
        pairs = [(check.get("check_type", "uncategorized"), check.get("res") in YES) for check in checks or []]
        all_pairs += pairs
        videos[identifier] = {
            "event_lcs_length": common(len(plan), info.get("overall_event_processed_res", "")) if plan else None,
            "verification_checks_analysis": {
                "overall_score": sum(yes for _, yes in pairs),
                "scores_by_category": sums(pairs),
                "total_checks": len(pairs),
            }
            if pairs
            else None,
        }
    events = sum(video["event_lcs_length"] for video in videos.values() if video["event_lcs_length"])
    yes = sum(yes for _, yes in all_pairs)
    checks_part = {"verification_checks_score": yes, "verification_checks_score_by_category": sums(all_pairs)}
    summary = {
        "total_event_adherence": events,
        **(checks_part if all_pairs else {}),
        "total_score": events + yes,
        "total_videos_processed": len(videos),
    }
    return {"overall_summary": summary if videos else {}, "per_video_analysis": videos}


YES = {"".join(letters) for letters in itertools.product("yY", "eE", "sS")}

CHECKS = st.fixed_dictionaries(
    {"question": st.just("?")},
    optional={
        "check_type": st.sampled_from(["Mechanics", "2d_layout", "mechanics", "Würde", ""]),
        "res": st.sampled_from(["yes", "no", "YES", "Yes", " yes", "yes.", "wrong", "", "n"]),
        "check": st.booleans(),
    },
)
EVENTS = st.fixed_dictionaries(
    {},
    optional={
        "verification_plan": st.one_of(st.none(), st.lists(st.just({"event_description": "x"}), max_size=5)),
        "overall_event_processed_res": st.text("ABCDENx,", max_size=7),
        "overall_event_res": st.one_of(st.none(), st.text("AB ,", max_size=5)),
    },
)
RECORDS = st.dictionaries(
    st.from_regex(r"v[a-z0-9]{1,5}", fullmatch=True),
    st.fixed_dictionaries(
        {},
        optional={
            "t2v_eval_event_info": EVENTS,
            "verification_checks": st.one_of(st.none(), st.lists(CHECKS, max_size=5)),
        },
    ),
    max_size=5,
)


@given(RECORDS)
def test_counting_is_the_official_one_to_the_digit_and_in_order(records: dict[str, Any]) -> None:
    assert json.dumps(official_report(records)) == json.dumps(counted_by_hand(records))


def test_counting_by_worked_example() -> None:
    records = {
        "a": {
            "t2v_eval_event_info": {"verification_plan": [{}, {}, {}], "overall_event_processed_res": "ACB"},
            "verification_checks": [
                {"check_type": "2d_layout", "res": "YES"},
                {"check_type": "Mechanics", "res": "yes.", "check": True},
                {"check_type": "2d_layout", "res": "yes", "check": False},
                {"check_type": "Mechanics"},
            ],
        },
        "b": {"t2v_eval_event_info": {"verification_plan": [{}, {}]}},
    }
    assert official_report(records) == {
        "overall_summary": {
            "total_event_adherence": 2,
            "verification_checks_score": 2,
            "verification_checks_score_by_category": {"2d_layout": 2, "Mechanics": 0},
            "total_score": 4,
            "total_videos_processed": 2,
        },
        "per_video_analysis": {
            "a": {
                "event_lcs_length": 2,
                "verification_checks_analysis": {
                    "overall_score": 2,
                    "scores_by_category": {"2d_layout": 2, "Mechanics": 0},
                    "total_checks": 4,
                },
            },
            "b": {"event_lcs_length": 0, "verification_checks_analysis": None},
        },
    }


def test_written_as_the_official_script_writes(tmp_path: Path) -> None:
    value = {"ü": [1, None], "a": {}}
    write_official(tmp_path / "mine.json", value)
    with (tmp_path / "theirs.json").open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=4, ensure_ascii=False)
    assert (tmp_path / "mine.json").read_bytes() == (tmp_path / "theirs.json").read_bytes()


def event_info(**fields: Any) -> dict[str, Any]:
    return {"t2v_eval_event_info": {"verification_plan": [{}], **fields}}


def check(**fields: Any) -> dict[str, Any]:
    return {"verification_checks": [{"res": "yes"}, fields]}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (None, "id 'v1' must be an object, got null"),
        ([], "id 'v1' must be an object, got a list"),
        ({"t2v_eval_event_info": None}, "field 't2v_eval_event_info' must be an object, got null"),
        (event_info(verification_plan={"1": "x"}), "field 'verification_plan' must be a list, got an object"),
        (event_info(verification_plan="ABC"), "field 'verification_plan' must be a list, got a string"),
        ({"verification_checks": "yes"}, "field 'verification_checks' must be a list, got a string"),
        ({"verification_checks": ["yes"]}, "check 1 must be an object, got a string"),
        (check(check_type=None), "check 2: field 'check_type' must be a string, got null"),
        (check(check="true"), "check 2: field 'check' must be true or false, got a string"),
        (check(question=1), "check 2: field 'question' must be a string, got a number"),
    ],
)
def test_a_malformed_record_is_refused_by_id_and_field(tmp_path: Path, record: Any, message: str) -> None:
    path = tmp_path / "eval_res.json"
    path.write_text(json.dumps({"v0": {}, "v1": record}))
    for lenient in (False, True):
        with pytest.raises(InputError, match=message):
            load_results(path, lenient)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (check(res=None), "check 2: field 'res' must be a string, got null"),
        (check(res=True), "check 2: field 'res' must be a string, got true or false"),
        (check(res=1), "check 2: field 'res' must be a string, got a number"),
        (event_info(overall_event_processed_res=None), "field 'overall_event_processed_res' must be a string"),
    ],
)
def test_answers_that_stop_the_official_script_are_refused_unless_lenient(
    tmp_path: Path, record: dict[str, Any], message: str
) -> None:
    path = tmp_path / "eval_res.json"
    path.write_text(json.dumps({"v1": record}))
    with pytest.raises(InputError, match=message) as caught:
        load_results(path)
    assert "--lenient" in str(caught.value)
    results = load_results(path, lenient=True)
    assert len(results.uncountable) == 1
    assert official_report(results.records)["overall_summary"]["total_score"] in (0, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ("[]", "expected an object of records by id, got a list"),
        ('{"v1": {}, "v1": {}}', "duplicate key 'v1'"),
        ('{"../v1": {}}', "bad id"),
        ("[" * 100_000, "nested too deeply"),
        ('{"v1": ' + "9" * 5000 + "}", "not valid JSON"),
        ('{"v1": {"verification_checks": [{"check_type": "\\ud800"}]}}', "no text"),
    ],
)
def test_a_file_that_is_no_result_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "eval_res.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_results(path)
