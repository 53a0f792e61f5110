"""The Gemini teacher against a server on 127.0.0.1, through google-genai itself."""

import base64
import json

import pytest

from worldcritic import main


@pytest.fixture
def label(fake, key, world):
    def label(*more):
        teacher = ["--teacher", "gemini:pro", "--base_url", fake.address, "--api_key_env", "TEACHER_KEY"]
        data = ["--prompts", "prompts.jsonl", "--videos", "videos", "--out", "labels", "--workers", "1"]
        code = main(["label", *teacher, *data, "--first_wait", "0.01", *more])
        labels = world / "labels" / "labels.jsonl"
        return code, [json.loads(line) for line in labels.read_text().splitlines()] if labels.exists() else []

    return label


def test_small_videos_go_inside_the_request(label, fake, world):
    code, rows = label("--video_fps", "4")
    assert code == 0
    assert [row["state"] for row in rows] == ["answer"] * 9
    assert (rows[0]["p_source"], rows[0]["answer_mass"]) == ("logprobs", pytest.approx(0.9))
    assert (rows[0]["teacher"]["model_version"], rows[0]["teacher"]["fps"]) == ("gemini-fake-001", 4.0)
    video = fake.bodies[0]["contents"][0]["parts"][0]
    assert video["videoMetadata"] == {"fps": 4.0}
    sent = base64.urlsafe_b64decode(video["inlineData"]["data"])
    assert sent in [path.read_bytes() for path in (world / "videos").rglob("*.mp4")]
    assert fake.uploads == []


def test_a_larger_video_is_uploaded_once_for_all_questions_and_deleted(label, fake, world):
    fake.polls_until_active = 2
    code, rows = label("--inline_megabytes", "0", "--limit", "1")
    assert code == 0
    assert [row["state"] for row in rows] == ["answer"] * 3
    assert fake.uploads == [(world / "videos" / "ball" / "a.mp4").read_bytes()]
    shown = [json.dumps(body["contents"][0]["parts"][0]["fileData"]) for body in fake.bodies]
    assert all(f"{fake.address}/files/abc" in each for each in shown)
    assert len(fake.deleted) == 1


def test_an_upload_that_fails_or_never_gets_ready_is_an_error(label, fake):
    fake.polls_until_active = 10**6
    code, rows = label("--inline_megabytes", "0", "--limit", "1", "--upload_seconds", "0.1", "--attempts", "1")
    assert code == 3
    assert {row["state"] for row in rows} == {"error"}
    assert "not ready" in rows[0]["error"]
    fake.polls_until_active, fake.upload_state = 1, "FAILED"
    code, rows = label("--inline_megabytes", "0", "--limit", "1", "--retry_errors")
    assert code == 3
    assert "could not process" in rows[0]["error"]
    assert fake.questions == []


def test_blocked_and_empty_candidates_are_refusals(label, fake):
    blocked = [
        {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}},
        {"candidates": [{"finishReason": "SAFETY"}]},
        {"candidates": [{"finishReason": "RECITATION", "content": {"parts": [{"text": "Yes"}], "role": "model"}}]},
        {"candidates": [{"finishReason": "STOP", "content": {"parts": [], "role": "model"}}]},
        {"candidates": []},
    ]
    fake.plan = lambda number, question: blocked[number % len(blocked)]
    code, rows = label()
    assert code == 3
    assert [row["state"] for row in rows] == ["refusal"] * 9
    assert all(row["answer"] is None and row["p_yes"] is None for row in rows)
    reasons = " ".join(row["error"] for row in rows)
    assert all(word in reasons for word in ("PROHIBITED_CONTENT", "SAFETY", "RECITATION", "empty", "no candidate"))


def test_thoughts_are_no_answer_and_a_cut_off_reply_says_so(label, fake):
    thought = {"candidates": [{"finishReason": "STOP", "content": {"parts": [{"text": "No?", "thought": True}]}}]}
    thought["candidates"][0]["content"]["parts"].append({"text": "Yes"})
    cut_off = {"candidates": [{"finishReason": "MAX_TOKENS"}]}
    fake.plan = lambda number, question: thought if "fall?" in question else cut_off if "round?" in question else None
    code, rows = label("--limit", "1")
    assert code == 3
    assert (rows[0]["answer"], rows[0]["p_yes"], rows[0]["raw"]) == ("yes", 1.0, "Yes")
    assert rows[1]["state"] == "unparsed"
    assert "--max_tokens" in rows[1]["error"]


def test_faults_are_sorted_as_everywhere(label, fake, key, capsys):
    faults = {0: (429, {"Retry-After": "0.1"}), 1: 503, 2: "half", 3: "garbage", 4: "close"}
    fake.plan = lambda number, question: faults.get(number)
    code, rows = label("--limit", "2")
    assert code == 0
    assert len(fake.questions) == 6 + 5
    fake.plan = lambda number, question: 400
    code, rows = label()
    assert code == 3
    assert [row["state"] for row in rows].count("error") == 3
    fake.plan = lambda number, question: 403
    assert label("--retry_errors")[0] == 1
    shown = capsys.readouterr()
    assert "does not let this key in" in shown.err
    assert key not in shown.err
    assert all(row["error"] is None or key not in row["error"] for row in rows)


def test_an_invalid_key_is_a_refused_key_although_gemini_says_400(label, fake, capsys):
    fake._fail = lambda handler, fault: handler.json(
        400, {"error": {"code": 400, "message": "API key not valid. Please pass a valid API key."}}
    )
    fake.plan = lambda number, question: 400
    assert label() == (1, [])
    assert "does not let this key in" in capsys.readouterr().err
