"""The OpenAI-compatible teacher against a server on 127.0.0.1 that fails in every way."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from worldcritic import main


@pytest.fixture
def label(fake, key, world):
    """`label(...)` labels the world and returns exit code and rows."""

    def label(*more):
        teacher = ["--teacher", "openai:m", "--base_url", f"{fake.address}/v1", "--api_key_env", "TEACHER_KEY"]
        data = ["--prompts", "prompts.jsonl", "--videos", "videos", "--out", "labels", "--workers", "1"]
        code = main(["label", *teacher, *data, "--first_wait", "0.01", *more])
        labels = world / "labels" / "labels.jsonl"
        return code, [json.loads(line) for line in labels.read_text().splitlines()] if labels.exists() else []

    return label


def states(rows):
    return [row["state"] for row in rows]


def completion(content, **choice):
    return {"model": "fake-1", "choices": [{"message": {"content": content}, "finish_reason": "stop"} | choice]}


def test_every_question_gets_a_row_with_soft_answers_from_logprobs(label, fake):
    code, rows = label()
    assert code == 0
    assert states(rows) == ["answer"] * 9
    check, order = rows[0], rows[2]
    assert 0 < check["p_yes"] < 1
    assert check["answer"] == ("yes" if check["p_yes"] >= 0.5 else "no")
    assert (check["p_source"], check["answer_mass"]) == ("logprobs", pytest.approx(0.9))
    assert check["teacher"]["model_version"] == "fake-1"
    assert (order["kind"], order["dimension"], order["p_yes"]) == ("order", "event_following", None)
    assert order["answer"] in ("BA", "")
    assert (order["answer"] == "") == (order["raw"] == "None")
    assert order["events"] == ["It falls.", "It bounces."]
    assert len(fake.questions) == 9


def test_what_is_sent_is_the_whole_video_and_our_wording(label, fake, world):
    label("--limit", "1", "--extra_body", '{"mm_processor_kwargs": {"fps": 2}}', "--seed", "3")
    sent = next(body for body in fake.bodies if "Does it fall?" in body["messages"][0]["content"][-1]["text"])
    video, question = sent["messages"][0]["content"]
    kind, _, encoded = video["video_url"]["url"].partition(";base64,")
    assert kind == "data:video/mp4"
    assert base64.b64decode(encoded) == (world / "videos" / "ball" / "a.mp4").read_bytes()
    assert question["text"].endswith("Question: Does it fall?\nAnswer with Yes or No.")
    assert sent["mm_processor_kwargs"] == {"fps": 2}
    assert (sent["temperature"], sent["seed"], sent["top_logprobs"]) == (0.0, 3, 20)
    assert "retry" not in json.dumps(sent)
    assert fake.headers[0]["x-stainless-retry-count"] == "0"


def test_frames_are_sent_as_jpegs_behind_their_times(label, fake):
    _, rows = label("--media", "frames", "--num_frames", "3", "--max_pixels", "400")
    parts = fake.bodies[0]["messages"][0]["content"]
    times = [part["text"] for part in parts[:-1] if part["type"] == "text"]
    assert times == ["<0.0 seconds>", "<0.1 seconds>", "<0.4 seconds>"]
    picture = Image.open(io.BytesIO(base64.b64decode(parts[1]["image_url"]["url"].split(",")[1])))
    assert (picture.format, picture.size) == ("JPEG", (20, 20))
    assert np.asarray(picture).std() > 5
    assert rows[0]["teacher"]["frames"] == 3
    assert rows[0]["teacher"]["fps"] == pytest.approx(2 / 0.375)


def test_without_logprobs_the_written_answer_counts(label, fake):
    fake.logprobs = False
    _, rows = label()
    assert {row["p_yes"] for row in rows if row["kind"] == "check"} <= {0.0, 1.0}
    assert {row["p_source"] for row in rows} == {"parsed"}


def test_a_server_that_refuses_logprobs_is_asked_without(label, fake, capsys):
    message = {"error": {"message": "logprobs are not supported by this model"}}
    fake.plan = lambda number, question: None
    original = fake._fail
    fake._fail = lambda handler, fault: (
        handler.json(400, message) if fault == "no logprobs" else original(handler, fault)
    )
    fake.plan = lambda number, question: "no logprobs" if fake.bodies[number].get("logprobs") else None
    code, rows = label("--concurrency", "1")
    assert code == 0
    assert {row["p_source"] for row in rows} == {"parsed"}
    assert sum("logprobs" in body for body in fake.bodies) == 1


def test_passing_faults_are_tried_again(label, fake):
    faults = [500, 503, 408, 409, "half", "garbage", "close"]
    fake.plan = lambda number, question: dict(enumerate(faults)).get(number)
    code, rows = label()
    assert code == 0
    assert states(rows) == ["answer"] * 9
    assert len(fake.questions) == 9 + len(faults)


def test_a_hanging_server_is_given_up_in_time(label, fake):
    fake.plan = lambda number, question: "hang" if "round" in question else None
    code, rows = label("--attempts", "2", "--request_seconds", "0.3", "--limit", "1")
    assert code == 3
    assert states(rows) == ["answer", "error", "answer"]
    assert "APITimeoutError" in rows[1]["error"] or "Timeout" in rows[1]["error"]
    assert sum("round" in question for question in fake.questions) == 2


def test_lasting_faults_are_not_tried_again_and_not_on_the_next_run(label, fake):
    fake.plan = lambda number, question: 422 if "bright" in question else None
    code, rows = label()
    assert code == 3
    assert [row["state"] for row in rows if "bright" in row["question"]] == ["error"]
    assert (rows[6]["p_yes"], rows[6]["answer"], rows[6]["p_source"]) == (None, None, None)
    assert "HTTP 422" in rows[6]["error"]
    assert len(fake.questions) == 9
    assert label()[0] == 3
    assert len(fake.questions) == 9
    fake.plan = lambda number, question: None
    assert label("--retry_errors")[0] == 0
    assert len(fake.questions) == 10


def test_429_waits_as_asked_costs_no_attempt_and_lowers_the_pace(label, fake):
    fake.plan = lambda number, question: (429, {"Retry-After": "0.3"}) if number < 4 else None
    code, rows = label("--attempts", "1", "--limit", "2")
    assert code == 0
    assert states(rows) == ["answer"] * 6
    assert fake.times[4] - fake.times[0] >= 0.29
    assert fake.most_in_flight <= 4


def test_the_pace_grows_to_what_the_server_takes_and_stays_below(label, fake, world):
    checks = [{"dimension": "mechanics", "question": f"Is it {i}?"} for i in range(80)]
    (world / "prompts.jsonl").write_text(json.dumps({"prompt_id": "tree", "prompt": "A tree.", "checks": checks}))
    fake.seconds = 0.02
    fake.plan = lambda number, question: 429 if fake.in_flight > 6 else None
    code, rows = label("--concurrency", "64", "--attempts", "1")
    assert code == 0
    assert states(rows) == ["answer"] * 80
    assert 5 <= fake.most_in_flight <= 10
    assert len(fake.questions) <= 100


def test_a_429_that_asks_for_too_long_is_an_error(label, fake):
    fake.plan = lambda number, question: (429, {"Retry-After": "86400"})
    code, rows = label("--limit", "1", "--quota_seconds", "5")
    assert code == 3
    assert states(rows) == ["error"] * 3
    assert "given up" in rows[0]["error"]


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_ends_the_run_at_once_and_is_never_shown(label, fake, key, world, capsys, status):
    fake.plan = lambda number, question: status
    code, rows = label("--concurrency", "2")
    assert (code, rows) == (1, [])
    shown = capsys.readouterr()
    assert "does not let this key in" in shown.err
    assert len(fake.questions) <= 2
    written = b"".join(path.read_bytes() for path in (world / "labels").iterdir())
    assert key not in shown.err + shown.out
    assert key.encode() not in written


def test_keys_are_redacted_in_errors_and_raw_texts(label, fake, key, world):
    fake.plan = lambda number, question: 400 if number == 0 else completion(f"Hm. Is {key} yours?")
    code, _ = label()
    assert code == 3
    written = b"".join(path.read_bytes() for path in (world / "labels").iterdir())
    assert key.encode() not in written
    assert b"[redacted]" in written


def test_words_that_look_like_a_key_do_not_break_a_reply(label, fake):
    fake.plan = lambda number, question: completion("Yes. Authorization: granted")
    _, rows = label("--limit", "1")
    assert (rows[0]["state"], rows[0]["answer"]) == ("answer", "yes")
    assert rows[0]["raw"] == "Yes. Authorization: [redacted]"


def test_many_failures_in_a_row_end_the_run(label, fake, capsys):
    fake.plan = lambda number, question: 404
    code, rows = label("--max_failures", "3", "--concurrency", "1")
    assert (code, rows) == (1, [])
    assert "3 calls in a row failed" in capsys.readouterr().err
    assert len(fake.questions) <= 4  # one may be on its way when the third fails


def test_refusals_and_unreadable_replies_are_states_with_their_text(label, fake):
    bodies = {
        "fall": completion("I'm sorry, I can't help with that."),
        "round": completion("Hard to say."),
        "bright": completion(None),
        "tree": completion("Yes", finish_reason="content_filter"),
    }
    bodies_order = {"model": "fake-1", "choices": []}
    fake.plan = lambda number, question: next(
        (body for word, body in bodies.items() if f"it {word}?" in question or f"a {word}?" in question), bodies_order
    )
    code, rows = label()
    assert code == 3
    by_question = {row["question"]: row for row in rows if row["kind"] == "check"}
    assert by_question["Does it fall?"]["state"] == "refusal"
    assert (by_question["Is it round?"]["state"], by_question["Is it round?"]["raw"]) == ("unparsed", "Hard to say.")
    assert by_question["Is it bright?"]["state"] == "refusal"
    assert by_question["Is it a tree?"]["state"] == "refusal"
    assert {row["state"] for row in rows if row["kind"] == "order"} == {"refusal"}
    assert all(row["answer"] is None and row["p_yes"] is None and row["error"] for row in rows)
    asked_again = [question for question in fake.questions if "round" in question]
    assert len(asked_again) == 4  # two videos, each asked once more


def test_a_content_policy_is_a_refusal(label, fake):
    message = {"error": {"message": "The prompt was filtered.", "code": "content_filter"}}
    fake._fail = lambda handler, fault: handler.json(400, message)
    fake.plan = lambda number, question: 400
    code, rows = label("--max_failures", "1")
    assert code == 3
    assert states(rows) == ["refusal"] * 9
    assert "filtered" in rows[0]["error"]


def test_a_key_is_not_sent_to_another_address_by_itself(fake, world, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-meant-for-openai-only")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    arguments = ["label", "--teacher", "openai:m", "--base_url", f"{fake.address}/v1"]
    assert main([*arguments, "--prompts", "prompts.jsonl", "--videos", "videos", "--out", "labels"]) == 0
    assert {headers["authorization"] for headers in fake.headers} == {"Bearer none"}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--teacher", "openai:m"], "OPENAI_API_KEY holds no key"),
        (["--teacher", "openai:m", "--api_key_env", "NO_SUCH_KEY"], "NO_SUCH_KEY holds no key"),
        (["--teacher", "openai", "--base_url", "http://127.0.0.1:9"], "needs a model"),
        (["--teacher", "openai:m", "--base_url", "http://me:pw@127.0.0.1:9"], "no user, password"),
        (["--teacher", "openai:m", "--base_url", "127.0.0.1:9"], "--base_url must be an address"),
        (["--teacher", "openai:m", "--base_url", "http://127.0.0.1:9", "--extra_body", "[1]"], "JSON object"),
        (["--teacher", "openai:m", "--num_frames", "8"], "--num_frames cannot be used with this teacher"),
        (["--teacher", "gemini:m", "--max_pixels", "9", "--extra_body", "{}"], "--max_pixels, --extra_body cannot be"),
        (["--teacher", "opnai:m"], "unknown teacher 'opnai:m'; teachers are openai, gemini, local, replay"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(world, monkeypatch, capsys, more, message):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert main(["label", *more, "--prompts", "prompts.jsonl", "--videos", "videos", "--out", "labels"]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert "pw" not in err.replace("password", "")
    assert not (world / "labels").exists()
