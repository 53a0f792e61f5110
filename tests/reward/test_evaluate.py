import copy
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reward.dimensions import CHECK_NAMES, OFFICIAL, dimension_name
from worldcritic import main

Report = dict[str, Any]


def record(*check_types: str, events: int = 2) -> dict[str, Any]:
    return {
        "verification_checks": [
            {"check_type": name, "question": f"Question {i} on {name}?"} for i, name in enumerate(check_types)
        ],
        "t2v_following_prompt": {"t2v_prompt": "A ball falls."},
        "t2v_eval_event_info": {
            "verification_plan": [{"event_id": i, "event_description": "x"} for i in range(events)]
        },
    }


PROMPTS = {"p1": record("2d_layout", "Mechanics"), "p2": record("Mechanics", events=3), "p3": record("Common Sense")}


def answered(answers: dict[str, tuple[str | None, list[Any]]], prompts: dict[str, Any] = PROMPTS) -> dict[str, Any]:
    """Result records from `{id: (raw order, [res, ...])}`, and the capitals of the order."""
    records = {}
    for identifier, (order, answers_to_checks) in answers.items():
        one = records[identifier] = copy.deepcopy(prompts[identifier])
        if order is not None:
            one["t2v_eval_event_info"]["overall_event_res"] = order
            one["t2v_eval_event_info"]["overall_event_processed_res"] = "".join(filter(str.isupper, order))
        for check, res in zip(one["verification_checks"], answers_to_checks, strict=True):
            check["res"] = res
    return records


def scored(
    prompt: str, p_yes: list[float], order: str, lcs: float, video: str = "a.mp4", **more: Any
) -> dict[str, Any]:
    checks = PROMPTS[prompt]["verification_checks"]
    questions = [
        {
            "dimension": dimension_name(check["check_type"]),
            "question": check["question"],
            "p_yes": p,
            "answer_mass": 0.9,
        }
        for check, p in zip(checks, p_yes, strict=True)
    ]
    num_events = len(PROMPTS[prompt]["t2v_eval_event_info"]["verification_plan"])
    events = {"n": num_events, "expected_lcs": lcs, "order": order, "order_probability": 0.5, "answer_mass": 0.9}
    row = {"prompt_id": prompt, "video": video, "status": "ok", "reward": 0.5, "reward_std": 0.1}
    return {**row, "questions": questions, "events": events, "critic": {"name": "toy"}, **more}


FAILED = {"prompt_id": "p3", "video": "c.mp4", "status": "error", "error": "is empty", "reward": None}
SCORED = [scored("p1", [0.9, 0.2], "AB", 1.5), scored("p2", [0.5], "", 0.25), FAILED]


@pytest.fixture
def evaluate(tmp_path: Path) -> Callable[..., tuple[int, Report]]:
    """Evaluate result records (a dict) or score rows (a list); returns exit code and report."""

    def evaluate(answers: dict[str, Any] | list[dict[str, Any]], *options: str) -> tuple[int, Report]:
        prompts, out = tmp_path / "prompts.json", tmp_path / "report.json"
        prompts.write_text(json.dumps(PROMPTS))
        if isinstance(answers, dict):
            source = ["--results", str(tmp_path / "eval_res.json")]
            (tmp_path / "eval_res.json").write_text(json.dumps(answers))
        else:
            source = ["--scores", str(tmp_path / "scores.jsonl"), "--prompts", str(prompts)]
            (tmp_path / "scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))
        code = main(["evaluate", *source, "--out", str(out), *options])
        return code, json.loads(out.read_text()) if out.exists() else {}

    return evaluate


def line(report: Report, dimension: str) -> dict[str, Any]:
    (found,) = [line for line in report["worldcritic"]["table"] if line["dimension"] == dimension]
    return found  # type: ignore[no-any-return]


def test_results_give_the_official_report_and_ours_beside_it(
    evaluate: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    results = answered({"p1": ("A, B", ["yes", "no"]), "p2": ("C, A, B", ["Yes"])})
    code, report = evaluate(results)
    assert code == 0
    assert list(report) == ["overall_summary", "per_video_analysis", "worldcritic"]
    assert report["overall_summary"] == {
        "total_event_adherence": 4,
        "verification_checks_score": 2,
        "verification_checks_score_by_category": {"2d_layout": 1, "Mechanics": 1},
        "total_score": 6,
        "total_videos_processed": 2,
    }
    assert line(report, "mechanics")["official"]["percent"] == 50.0
    assert line(report, "overall")["official"] | {"percent_interval": None} == {
        "score": 6,
        "max": 8,
        "percent": 75.0,
        "percent_interval": None,
    }
    assert line(report, "depth_3d")["official"]["percent"] is None
    assert [row["dimension"] for row in report["worldcritic"]["table"]][-1] == "overall"
    assert report["worldcritic"]["differences"] == []
    printed = capsys.readouterr().out
    assert "official total 6" in printed
    assert "readings agree" in printed


def test_official_format_is_byte_for_byte_the_official_file(evaluate: Callable[..., Any], tmp_path: Path) -> None:
    results = answered({"p1": ("A, B", ["yes", "no"])})
    _, full = evaluate(results)
    del full["worldcritic"]
    evaluate(results, "--format", "official", "--overwrite")
    assert (tmp_path / "report.json").read_text() == json.dumps(full, indent=4, ensure_ascii=False)


def test_an_empty_result_file_has_an_empty_summary(evaluate: Callable[..., Any]) -> None:
    code, report = evaluate({})
    assert code == 0
    assert (report["overall_summary"], report["per_video_analysis"]) == ({}, {})


def test_readings_are_compared_answer_by_answer(
    evaluate: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    results = answered({"p1": ("None", ["Yes.", "wrong"]), "p2": ("a then b", ["no"])})
    _, report = evaluate(results)
    ours = report["worldcritic"]
    assert report["overall_summary"]["total_score"] == 0
    assert line(report, "overall")["robust"]["score"] == 3
    assert [(row["id"], row["dimension"], row["official"], row["robust"]) for row in ours["differences"]] == [
        ("p1", "layout_2d", 0, 1),
        ("p1", "mechanics", 0, None),
        ("p2", "event_following", 0, 2),
    ]
    assert ours["coverage"]["checks"] == {"expected": 3, "answered": 2}
    assert line(report, "mechanics")["robust"]["max"] == 1
    assert "differ in 3 answers" in capsys.readouterr().out


def test_missing_videos_are_listed_against_the_prompt_file(
    evaluate: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = answered({"p2": ("A, B, C", ["yes"])})
    _, report = evaluate(results, "--prompts", str(tmp_path / "prompts.json"))
    coverage = report["worldcritic"]["coverage"]
    assert coverage["videos"] == {"expected": 3, "present": 1, "missing": ["p1", "p3"]}
    assert coverage["checks"] == {"expected": 4, "answered": 1}
    assert coverage["events"] == {"expected": 7, "answered": 3}
    assert report["overall_summary"]["total_videos_processed"] == 1
    assert line(report, "event_following")["official"]["max"] == 7
    assert line(report, "event_following")["robust"]["max"] == 3
    assert "no answer for p1, p3" in capsys.readouterr().out


def test_no_letters_at_all_are_the_answer_that_no_event_happens(evaluate: Callable[..., Any]) -> None:
    results = answered({"p1": (None, ["yes", "no"]), "p2": (None, ["yes"])})
    results["p1"]["t2v_eval_event_info"]["overall_event_processed_res"] = ""
    coverage = evaluate(results)[1]["worldcritic"]["coverage"]["events"]
    assert coverage["answered"] == 2


def test_results_of_other_prompts_are_refused(
    evaluate: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_prompts = ["--prompts", str(tmp_path / "prompts.json")]
    assert evaluate({"p9": record()}, *with_prompts)[0] == 2
    assert "'p9' is not in the prompt file" in capsys.readouterr().err
    other = record("2d_layout", "Mechanics")
    other["verification_checks"][1]["question"] = "Another?"
    for changed in (record("2d_layout"), record("2d_layout", "Mechanics", events=3), other):
        assert evaluate({"p1": changed}, *with_prompts)[0] == 2
        assert "id 'p1'" in capsys.readouterr().err


def test_checks_that_were_not_asked_count_officially_only(
    evaluate: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    results = answered({"p1": ("A, B", ["yes", "yes"])})
    results["p1"]["verification_checks"][1]["check"] = False
    _, report = evaluate(results)
    assert report["overall_summary"]["verification_checks_score"] == 2
    assert line(report, "overall")["official"]["score"] == 3
    assert report["worldcritic"]["not_asked"] == {"checks": 1, "counted_yes": 1}
    assert "1 checks were not to be asked" in capsys.readouterr().out


def test_unknown_categories_have_their_own_line(evaluate: Callable[..., Any]) -> None:
    results = answered({"p1": ("A, B", ["yes", "yes"])})
    results["p1"]["verification_checks"][0]["check_type"] = "Beauty"
    results["p1"]["verification_checks"][1].pop("check_type")
    _, report = evaluate(results)
    assert report["overall_summary"]["verification_checks_score_by_category"] == {"Beauty": 1, "uncategorized": 1}
    assert line(report, "Beauty")["asked"] == 1
    assert line(report, "uncategorized")["official"]["score"] == 1


def test_lenient_counts_what_the_official_script_stops_at_as_missing(evaluate: Callable[..., Any]) -> None:
    results = answered({"p1": ("A, B", [True, None])})
    assert evaluate(results)[0] == 2
    code, report = evaluate(results, "--lenient")
    assert code == 0
    assert report["overall_summary"]["verification_checks_score"] == 0
    assert line(report, "layout_2d")["robust"]["score"] == 1
    assert len(report["worldcritic"]["official_script_stops_at"]) == 2


def test_scores_are_counted_hard_and_as_expectations(evaluate: Callable[..., Any]) -> None:
    code, report = evaluate(SCORED)
    assert code == 0
    assert report["overall_summary"] == {
        "total_event_adherence": 2,
        "verification_checks_score": 2,
        "verification_checks_score_by_category": {"2d_layout": 1, "Mechanics": 1},
        "total_score": 4,
        "total_videos_processed": 2,
    }
    mechanics, overall = line(report, "mechanics"), line(report, "overall")
    assert (mechanics["hard"]["score"], mechanics["expected"]["score"]) == (1, pytest.approx(0.7))
    assert overall["expected"]["score"] == pytest.approx(0.9 + 0.2 + 0.5 + 1.5 + 0.25)
    assert (overall["asked"], overall["answered"]) == (11, 8)
    ours = report["worldcritic"]
    assert ours["coverage"]["videos"]["missing"] == ["p3"]
    assert ours["videos"]["failed"] == [{"id": "p3", "video": "c.mp4", "reason": "error: is empty"}]


def test_the_threshold_moves_the_hard_totals(evaluate: Callable[..., Any]) -> None:
    _, report = evaluate(SCORED, "--threshold", "0.91")
    assert report["overall_summary"]["verification_checks_score"] == 0
    assert line(report, "overall")["expected"]["score"] == pytest.approx(3.35)


def test_scores_survive_the_round_trip_through_a_result_file(evaluate: Callable[..., Any], tmp_path: Path) -> None:
    written = tmp_path / "written.json"
    _, from_scores = evaluate(SCORED, "--write_results", str(written))
    results = json.loads(written.read_text())
    assert list(results) == ["p1", "p2"]
    assert results["p2"]["t2v_eval_event_info"]["overall_event_res"] == "None"
    assert [check["res"] for check in results["p1"]["verification_checks"]] == ["yes", "no"]
    assert results["p1"]["verification_checks"][0]["check_type"] == "2d_layout"
    _, from_results = evaluate(results, "--overwrite")
    for key in ("overall_summary", "per_video_analysis"):
        assert from_results[key] == from_scores[key]
    assert from_results["worldcritic"]["differences"] == []


def test_stale_answers_of_the_prompt_file_are_not_passed_on(tmp_path: Path) -> None:
    stale = answered({"p1": ("B", ["no", "yes"])})
    stale["p1"]["verification_checks"][1]["check"] = False
    (tmp_path / "prompts.json").write_text(json.dumps(stale))
    row = scored("p1", [0.9, 0.9], "AB", 1.5)
    row["questions"].pop()
    (tmp_path / "scores.jsonl").write_text(json.dumps(row))
    written = tmp_path / "written.json"
    arguments = ["--scores", str(tmp_path / "scores.jsonl"), "--prompts", str(tmp_path / "prompts.json")]
    assert main(["evaluate", *arguments, "--write_results", str(written)]) == 0
    first, second = json.loads(written.read_text())["p1"]["verification_checks"]
    assert first["res"] == "yes"
    assert "res" not in second


def test_several_candidates_are_averaged_and_have_no_official_total(
    evaluate: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        SCORED[0],
        scored("p1", [0.3, 0.3], "B", 1.0, "b.mp4"),
        scored("p1", [0.9, 0.9], "BA", 0.5, "c.mp4"),
        SCORED[1],
    ]
    code, report = evaluate(rows)
    assert code == 0
    assert report["overall_summary"] is None
    assert "worldcritic rank" in report["worldcritic"]["no_official_totals"]
    assert line(report, "layout_2d")["hard"]["score"] == pytest.approx(2 / 3)
    assert line(report, "layout_2d")["expected"]["score"] == pytest.approx(0.7)
    assert line(report, "event_following")["hard"]["score"] == pytest.approx((2 + 1 + 1) / 3)
    capsys.readouterr()
    written = tmp_path / "written.json"
    for options in (["--write_results", str(written)], ["--format", "official"]):
        assert evaluate(rows, *options, "--overwrite")[0] == 2
        assert "worldcritic rank" in capsys.readouterr().err
    assert not written.exists()


def test_answers_without_mass_do_not_count(evaluate: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    row = scored("p1", [0.9, 0.9], "AB", 2.0, status="partial", error="check 2: answer mass 0.01 is below 0.1")
    row["questions"][1]["answer_mass"] = 0.01
    assert evaluate([row])[0] == 2
    assert "give --min_answer_mass" in capsys.readouterr().err
    _, report = evaluate([row], "--min_answer_mass", "0.1")
    assert line(report, "mechanics")["answered"] == 0
    assert report["overall_summary"]["verification_checks_score"] == 1
    row["critic"]["min_answer_mass"] = 0.95
    _, report = evaluate([row], "--overwrite")
    assert line(report, "overall")["answered"] == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt_id": "p9"}, "'p9' is not in the prompt file"),
        ({"questions": []}, "0 questions answered; the prompt file asks 2"),
        ({"events": None}, "0 events answered; the prompt file has 2"),
        ({"events": {"n": 3, "expected_lcs": 1.0, "order": "A"}}, "3 events answered; the prompt file has 2"),
    ],
)
def test_scores_of_other_prompts_are_refused(
    evaluate: Callable[..., Any], change: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate([{**SCORED[0], **change}]) == (2, {})
    assert message in capsys.readouterr().err


def test_questions_in_another_order_are_refused(
    evaluate: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    row = copy.deepcopy(SCORED[0])
    row["questions"].reverse()
    assert evaluate([row])[0] == 2
    assert "prompt id 'p1': question 1 is mechanics" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "exactly one of --results"),
        (["--results", "{r}", "--scores", "{s}"], "exactly one of --results"),
        (["--scores", "{s}"], "--scores needs --prompts"),
        (["--results", "{r}", "--write_results", "w.json"], "--write_results goes with --scores"),
        (["--results", "{r}", "--min_answer_mass", "0.1"], "--min_answer_mass goes with --scores"),
        (["--scores", "{s}", "--prompts", "{p}", "--lenient"], "--lenient goes with --results"),
        (["--results", "{r}", "--format", "official"], "--format official needs --out"),
        (["--results", "{r}", "--threshold", "1.5"], "threshold"),
        (["--results", "gone.json"], "gone.json does not exist"),
        (["--results", "{r}", "--out", "{r}", "--overwrite"], "also an input"),
        (["--results", "{r}", "--out", "{folder}"], "is a folder"),
        (["--results", "{r}", "--out", "{r}/report.json"], "is a file, not a folder"),
        (["--results", "{s}"], "not valid JSON"),
    ],
)
def test_bad_usage_is_one_line_and_writes_nothing(
    tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = {"r": tmp_path / "eval_res.json", "s": tmp_path / "scores.jsonl", "p": tmp_path / "prompts.json"}
    paths["r"].write_text("{}")
    paths["s"].write_text("".join(json.dumps(row) + "\n" for row in SCORED))
    paths["p"].write_text(json.dumps(PROMPTS))
    assert main(["evaluate", *(argument.format(**paths, folder=tmp_path) for argument in arguments)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert set(tmp_path.iterdir()) == set(paths.values())


def test_without_out_only_the_table_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "eval_res.json"
    path.write_text(json.dumps(answered({"p1": ("A, B", ["yes", "no"])})))
    assert main(["evaluate", "--results", str(path)]) == 0
    assert "event_following" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == [path]


def test_a_benchmark_of_full_size_takes_seconds(evaluate: Callable[..., Any]) -> None:
    generator = random.Random(0)
    sizes = [3] * 215 + [2] * 85
    types = [OFFICIAL[name] for name in CHECK_NAMES]
    prompts = {
        f"p{i:03d}": record(*generator.choices(types, k=2 + (i < 193)), events=size) for i, size in enumerate(sizes)
    }
    answers = {
        name: (
            ", ".join(generator.sample("ABC", 2)),
            [generator.choice(["yes", "no"]) for _ in prompt["verification_checks"]],
        )
        for name, prompt in prompts.items()
    }
    started = time.monotonic()
    code, report = evaluate(answered(answers, prompts))
    assert time.monotonic() - started < 5
    assert code == 0
    assert report["worldcritic"]["coverage"]["checks"] == {"expected": 793, "answered": 793}
    assert report["worldcritic"]["coverage"]["events"] == {"expected": 815, "answered": 815}
    for row in report["worldcritic"]["table"]:
        interval, percent = row["official"]["percent_interval"], row["official"]["percent"]
        assert interval["low"] < percent < interval["high"]
