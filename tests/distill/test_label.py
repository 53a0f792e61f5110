"""`worldcritic label` through the console command: the journal, its exports, shards, money and resuming."""

import json
import shutil
from dataclasses import replace

import pyarrow.parquet
import pytest

from distill.jobs import label_key
from reward.candidates import Candidate
from reward.fake import FakeCritic
from reward.files import sha256_file
from reward.labels import load_labels
from reward.model import RewardModel
from reward.prompts import Prompt
from reward.teacher import Question
from worldcritic import main

DATA = ["--prompts", "prompts.jsonl", "--videos", "videos", "--workers", "1"]


@pytest.fixture
def label(fake, key, world):
    def label(*more, out="labels"):
        teacher = ["--teacher", "openai:m", "--base_url", f"{fake.address}/v1", "--api_key_env", "TEACHER_KEY"]
        return main(["label", *teacher, *DATA, "--out", out, "--first_wait", "0.01", *more])

    return label


def rows(path="labels/labels.jsonl"):
    with open(path) as file:
        return [json.loads(line) for line in file]


def test_rows_have_the_shared_form_and_readers_take_them(label, world):
    assert label("--generator", "wan") == 0
    found = rows()
    assert [(row["video"], row["kind"]) for row in found] == [
        *[(f"ball/{name}.mp4", kind) for name in "ab" for kind in ("check", "check", "order")],
        ("lamp.mp4", "check"),
        ("lamp.mp4", "order"),
        ("tree.mp4", "check"),
    ]
    first = found[0]
    assert first["video_path"] == "videos/ball/a.mp4"
    assert first["sha256"] == sha256_file(world / "videos" / "ball" / "a.mp4")
    assert (first["generator"], first["t2v_prompt"], first["events"]) == ("wan", "A ball.", None)
    assert len({row["key"] for row in found}) == 9
    assert [row.key for row in load_labels(world / "labels")] == [row["key"] for row in found]
    record = json.loads((world / "labels" / "labels.jsonl.run.json").read_text())
    assert record["summary"]["states"] == {"answer": 9}
    assert record["summary"]["calls"] == 9
    assert record["inputs"]["prompts"]["sha256"] == sha256_file(world / "prompts.jsonl")


def test_parquet_holds_the_same_rows(label, world):
    label()
    table = pyarrow.parquet.read_table(world / "labels" / "labels.parquet").to_pylist()
    assert [row | {"teacher": json.loads(row["teacher"])} for row in table] == rows()
    assert label("--overwrite", "--no_parquet") == 0
    assert not (world / "labels" / "labels.parquet").exists()


def test_the_same_command_again_asks_nothing_and_writes_the_same(label, fake, world):
    label("--limit", "2")
    asked = len(fake.questions)
    assert asked == 6
    label()
    assert len(fake.questions) == 9
    before = (world / "labels" / "labels.jsonl").read_bytes()
    assert label() == 0
    assert len(fake.questions) == 9
    assert (world / "labels" / "labels.jsonl").read_bytes() == before
    assert label("--overwrite") == 0
    assert len(fake.questions) == 18
    assert (world / "labels" / "labels.jsonl").read_bytes() == before


def test_a_changed_video_or_question_is_asked_about_anew(label, fake, world):
    label()
    shutil.copy(world / "videos" / "lamp.mp4", world / "videos" / "tree.mp4")
    text = (world / "prompts.jsonl").read_text()
    (world / "prompts.jsonl").write_text(text.replace("Is it bright?", "Is it very bright?"))
    assert label() == 0
    new = fake.questions[9:]
    assert len(new) == 2
    assert {"very bright" in question for question in new} == {True, False}


def test_equal_videos_under_one_prompt_are_asked_about_once(label, fake, world):
    shutil.copy(world / "videos" / "ball" / "a.mp4", world / "videos" / "ball" / "b.mp4")
    assert label() == 0
    assert len(fake.questions) == 6
    found = rows()
    assert [row["p_yes"] for row in found[:3]] == [row["p_yes"] for row in found[3:6]]


def test_the_key_depends_on_all_that_an_answer_depends_on():
    prompt = Prompt("p", "A ball.")
    candidate = Candidate(prompt, "p.mp4", "p.mp4")
    question = Question("check", "mechanics", "Does it fall?")
    key = label_key("0" * 64, candidate, question, {"name": "m"})
    others = [
        label_key("1" * 64, candidate, question, {"name": "m"}),
        label_key("0" * 64, Candidate(Prompt("q", "A ball."), "p.mp4", "p.mp4"), question, {"name": "m"}),
        label_key("0" * 64, Candidate(Prompt("p", "A box."), "p.mp4", "p.mp4"), question, {"name": "m"}),
        label_key("0" * 64, candidate, Question("check", "mechanics", "Does it rise?"), {"name": "m"}),
        label_key("0" * 64, candidate, question, {"name": "m", "temperature": 1.0}),
    ]
    assert len({key, *others}) == 6
    assert label_key("0" * 64, Candidate(prompt, "other.mp4", "x"), question, {"name": "m"}) == key


def test_other_settings_are_another_teacher(label, fake, capsys):
    label("--limit", "1")
    asked = len(fake.questions)
    assert label("--temperature", "1.0") == 2
    assert "temperature 0.0 instead of 1.0" in capsys.readouterr().err
    assert len(fake.questions) == asked


def test_shards_share_no_file_and_merge_into_one_table(label, fake, world):
    label(out="whole")
    codes = [label("--num_shards", "3", "--shard_index", str(i)) for i in range(3)]
    assert set(codes) <= {0, 2}  # 2 where a shard gets none of the three prompts
    parts = sorted((world / "labels").glob("labels-*.jsonl"))
    assert sum(len(rows(part)) for part in parts) == 9
    asked = len(fake.questions)
    assert label("--merge", "labels", "--export_only") == 0
    assert len(fake.questions) == asked == 18
    assert rows() == rows("whole/labels.jsonl")


def test_export_only_writes_what_there_is_and_says_what_is_missing(label, fake):
    label("--limit", "1")
    assert label("--export_only") == 3
    assert len(rows()) == 3
    assert len(fake.questions) == 3


def test_a_dry_run_counts_and_prices_and_touches_nothing(label, fake, world, capsys):
    assert label("--dry_run") == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["videos"], plan["questions"], plan["questions_to_ask"]) == (4, 9, 9)
    assert plan["dollars_expected"] is None
    assert "--price_input" in plan["dollars_expected_unknown_because"]
    assert not (world / "labels").exists()
    label("--limit", "1")
    capsys.readouterr()
    assert label("--dry_run", "--price_input", "2", "--price_output", "10") == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["in_journal"], plan["questions_to_ask"], plan["videos_to_show"]) == ({"answer": 3}, 6, 3)
    assert plan["dollars_expected"] == pytest.approx(6 * (2 * 1000 + 10 * 10) / 1e6)
    assert len(fake.questions) == 3


def test_the_money_is_never_overspent_and_the_rest_is_not_asked(label, fake, world, capsys):
    prices = ["--price_input", "2", "--price_output", "10"]  # a call costs 0.0021
    assert label(*prices, "--max_cost", "0.0110") == 3
    assert len(fake.questions) == 5
    summary = json.loads((world / "labels" / "labels.jsonl.run.json").read_text())["summary"]
    assert summary["states"] == {"answer": 5, "not asked": 4}
    assert summary["dollars"] == pytest.approx(5 * 0.0021)
    assert label(*prices, "--max_cost", "0.0130") == 3
    assert len(fake.questions) == 6
    assert label(*prices) == 0
    assert len(fake.questions) == 9
    assert label("--max_cost", "1") == 2
    assert "--price_input" in capsys.readouterr().err


def test_a_question_that_a_prompt_asks_twice_is_one_question(label, fake, world):
    check = {"dimension": "mechanics", "question": "Is it a tree?"}
    record = {"prompt_id": "tree", "prompt": "A tree.", "checks": [check, check]}
    (world / "prompts.jsonl").write_text(json.dumps(record))
    assert label() == 0
    assert len(rows()) == len(fake.questions) == 1
    assert len(load_labels(world / "labels")) == 1


def test_prompts_that_ask_nothing_are_refused(label, world, capsys):
    (world / "prompts.jsonl").write_text('{"prompt_id": "tree", "prompt": "A tree.", "checks": [], "events": []}')
    assert label() == 2
    assert "ask nothing" in capsys.readouterr().err


def test_missing_and_damaged_videos_are_errors_of_their_own(label, fake, world):
    (world / "videos" / "lamp.mp4").write_bytes((world / "videos" / "lamp.mp4").read_bytes()[:700])
    (world / "videos" / "ball" / "b.mp4").unlink()
    names = ["ball/a.mp4", "ball/b.mp4", "lamp.mp4", "tree.mp4"]
    manifest = [{"prompt_id": name.split("/")[0].split(".")[0], "video": name} for name in names]
    manifest[0]["generator"] = "ltx"
    (world / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in manifest))
    assert label("--manifest", "manifest.jsonl") == 3
    found = rows()
    states = {name: {row["state"] for row in found if row["video"] == name} for name in names}
    assert states == {names[0]: {"answer"}, names[1]: {"error"}, names[2]: {"error"}, names[3]: {"answer"}}
    gone = next(row for row in found if row["video"] == "ball/b.mp4")
    assert (gone["sha256"], gone["key"]) == (None, None)
    assert "does not exist" in gone["error"]
    assert [row["generator"] for row in found[:4]] == ["ltx", "ltx", "ltx", None]
    assert len(fake.questions) == 4


def test_labels_of_unknown_origin_are_not_written_over(label, fake, world, capsys):
    (world / "labels").mkdir()
    (world / "labels" / "labels.jsonl").write_text("mine\n")
    assert label() == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (world / "labels" / "labels.jsonl").read_text() == "mine\n"
    assert fake.questions == []


def test_two_runs_cannot_write_one_journal(label, world, capsys):
    from reward.files import writing

    with writing(world / "labels" / "journal.sqlite"):
        assert label() == 2
    assert "another process is writing" in capsys.readouterr().err


def test_a_local_critic_and_a_recording_are_teachers(world):
    """A recording gives back what it holds; what it lacks is an error, and no reason to stop."""
    assert main(["label", "--teacher", "local:fake", *DATA, "--out", "local"]) == 0
    recorded = rows("local/labels.jsonl")
    assert {row["teacher"]["frames"] for row in recorded} == {8}
    assert {row["p_source"] for row in recorded} == {"logprobs"}
    assert recorded[0]["answer_mass"] == 1.0
    assert main(["label", "--teacher", "replay:local", *DATA, "--out", "again", "--max_failures", "1"]) == 0
    again = rows("again/labels.jsonl")
    assert [(row["answer"], row["p_yes"]) for row in again] == [(row["answer"], row["p_yes"]) for row in recorded]
    assert {row["p_source"] for row in again} == {"replay"}
    (world / "part.jsonl").write_text("".join(json.dumps(row) + "\n" for row in recorded[:4]))
    assert main(["label", "--teacher", "replay:part.jsonl", *DATA, "--out", "part", "--max_failures", "1"]) == 3
    assert [row["state"] for row in rows("part/labels.jsonl")] == ["answer"] * 4 + ["error"] * 5


def test_answers_with_too_little_probability_are_unparsed(world, monkeypatch):
    class Unsure(FakeCritic):
        def judge(self, clips, prompts):
            return [
                replace(
                    judgement,
                    answers=tuple(replace(answer, answer_mass=0.3) for answer in judgement.answers),
                    order=judgement.order and replace(judgement.order, answer_mass=0.7),
                )
                for judgement in super().judge(clips, prompts)
            ]

    monkeypatch.setattr(RewardModel, "from_pretrained", lambda *_: RewardModel(Unsure(), min_answer_mass=0.5))
    assert main(["label", "--teacher", "local:unsure", *DATA, "--out", "local"]) == 3
    found = rows("local/labels.jsonl")
    assert {row["kind"]: row["state"] for row in found} == {"check": "unparsed", "order": "answer"}
    assert found[0]["error"] == "answer mass 0.3 is below 0.5"
    assert (found[0]["p_yes"], found[0]["answer"]) == (None, None)
