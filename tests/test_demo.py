"""`worldcritic demo`: its commands, its memory of what is done, and the table that it ends with."""

import importlib
import json

import pytest

import worldcritic
import worldcritic_demo
from reward.config import parse
from worldcritic_demo import Config, measure, stages


@pytest.mark.parametrize("quick", [False, True])
def test_every_stage_is_a_command_that_its_verb_takes(quick, tmp_path):
    plan = stages(Config(out=tmp_path / "demo", quick=quick))
    assert len({stage.name for stage in plan}) == len(plan) >= 15
    for stage in plan:
        verb, *arguments = stage.command
        module = importlib.import_module(worldcritic.VERBS[verb][0])
        parsed = parse(module.Config, arguments, verb, "")
        assert str(tmp_path) in str(parsed.out)


def test_a_dry_run_prints_the_commands_and_writes_nothing(tmp_path, capsys):
    assert worldcritic.main(["demo", "--dry_run", "--out", str(tmp_path / "demo")]) == 0
    out = capsys.readouterr().out
    assert "[1/18] Make clips whose truth is known\n$ worldcritic toyworld --out" in out
    assert not (tmp_path / "demo").exists()


@pytest.fixture
def calls(monkeypatch):
    """Commands that were run; they do nothing. `calls.fail` names a verb that ends with exit code 1."""

    class Calls(list):
        fail = None

    made = Calls()

    def run(command):
        made.append(command)
        return int(command[0] == made.fail)

    monkeypatch.setattr(worldcritic, "main", run)
    return made


def test_a_demo_that_was_stopped_goes_on_with_the_stage_that_failed(calls, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(worldcritic_demo, "measure", lambda out: [])
    monkeypatch.setattr(worldcritic_demo, "_table", lambda lines: "the table")
    config = Config(out=tmp_path / "demo")
    calls.fail = "mine"
    assert worldcritic_demo.main(config) == 1
    first = [command[0] for command in calls]
    assert first[-1] == "mine"
    assert "Find preference pairs among them, ended with exit code 1" in capsys.readouterr().err
    calls.clear()
    calls.fail = None
    assert worldcritic_demo.main(config) == 0
    assert [*first[:-1], *(command[0] for command in calls)] == [stage.command[0] for stage in stages(config)]
    assert "the table" in capsys.readouterr().out


def test_another_demo_or_a_folder_of_other_things_is_not_written_over(calls, tmp_path, capsys):
    out = tmp_path / "demo"
    calls.fail = "toyworld"
    worldcritic_demo.main(Config(out=out))
    with pytest.raises(worldcritic_demo.InputError, match="demo of other settings"):
        worldcritic_demo.main(Config(out=out, seed=1))
    (out / "old.txt").touch()
    worldcritic_demo.main(Config(out=out, seed=1, overwrite=True))
    assert not (out / "old.txt").exists()
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter1.txt").write_text("precious")
    with pytest.raises(worldcritic_demo.InputError, match="holds no demo"):
        worldcritic_demo.main(Config(out=other, overwrite=True))
    assert (other / "chapter1.txt").read_text() == "precious"


def write_rows(path, rewards):
    with path.open("w") as file:
        for prompt_id, values in rewards.items():
            for number, (status, reward) in enumerate(values):
                row = {"prompt_id": prompt_id, "video": f"{prompt_id}/{number}.mp4", "status": status, "reward": reward}
                file.write(json.dumps(row) + "\n")


def test_the_table_counts_clips_that_are_right_in_everything(tmp_path):
    """Worked by hand: base 1 of 2 and 0 of 2; the critic picks a right clip of a and a wrong one of b; DPO 2/2, 1/2."""
    ok = ("ok", 1.0)
    write_rows(tmp_path / "oracle-base.jsonl", {"a": [("ok", 0.75), ok], "b": [("partial", 1.0), ("ok", 0.5)]})
    write_rows(tmp_path / "oracle-after-dpo.jsonl", {"a": [ok, ok], "b": [("error", None), ok]})
    write_rows(tmp_path / "oracle-after-nft.jsonl", {"a": [ok, ok], "b": [ok, ok]})
    picks = [{"prompt_id": "a", "video": "a/1.mp4"}, {"prompt_id": "b", "video": "b/1.mp4"}]
    (tmp_path / "best.jsonl").write_text("".join(json.dumps(pick) + "\n" for pick in picks))
    lines = measure(tmp_path)
    assert [line.name for line in lines] == [
        "base",
        "best of 2, by the critic",
        "fine-tuned, DPO",
        "fine-tuned, NFT",
    ]
    assert [line.clips for line in lines] == [4, 2, 4, 4]
    assert [line.correct for line in lines] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert [line.gain for line in lines] == pytest.approx([0, 0.25, 0.5, 0.75])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_quick_demo_runs_and_gains(tmp_path, capsys):
    assert worldcritic.main(["demo", "--quick", "--out", str(tmp_path / "demo")]) == 0
    table = {line["name"]: line for line in json.loads((tmp_path / "demo" / "table.json").read_text())}
    for name in ("best of 4, by the critic", "fine-tuned, DPO", "fine-tuned, NFT"):
        assert table[name]["gain_interval"]["low"] > 0
    assert (tmp_path / "demo" / "report.html").stat().st_size > 100_000
    assert "95% interval" in capsys.readouterr().out
