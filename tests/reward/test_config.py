"""YAML, then the command line, into one frozen dataclass; wrong keys and values fail first and are named."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Literal

import pydantic
import pytest

from reward.config import config, load_yaml, parse, save_run
from reward.errors import InputError


@config
class Lora:
    """Options of a part."""

    r: Annotated[int, pydantic.Field(ge=1)] = 4
    """Rank."""


@config
class Config:
    """Options of a test."""

    prompts: Path
    """Prompt file."""
    lr: Annotated[float, pydantic.Field(gt=0)] = 1e-3
    """Learning rate."""
    mode: Literal["a", "b"] = "a"
    lora: Lora = Lora()
    limit: int | None = None


def test_command_line_wins_over_yaml_which_wins_over_defaults(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("lr: 1e-5\nmode: b\nlora: {r: 8}\n")
    made = parse(Config, ["--config", str(path), "--prompts", "p.json", "--lora.r", "16"], "test", "")
    assert made == Config(prompts=Path("p.json"), lr=1e-5, mode="b", lora=Lora(r=16))
    assert parse(Config, [f"--config={path}", "--prompts", "p"], "test", "").lora.r == 8
    assert parse(Config, ["--prompts", "p"], "test", "").lr == 1e-3


def test_a_config_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config(prompts=Path("p")).lr = 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rate: 1", "unknown key 'learning_rate'; known are prompts, lr"),
        ("lr: fast", "key 'lr'"),
        ("lr: -1", "key 'lr': Input should be greater than 0 (got -1)"),
        ("mode: c", "key 'mode'"),
        ("lora: {rank: 3}", "key 'lora.rank'"),
        ("lora: {r: 0}", "key 'lora.r'"),
        ("limit: [1]", "key 'limit'"),
        ("- 1", "expected `key: value` lines, got list"),
        ("lr: [", "not valid YAML"),
        ("lr: !!python/object/apply:os.system ['true']", "not valid YAML"),
    ],
)
def test_wrong_yaml_names_file_and_key(tmp_path, text, message):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        parse(Config, ["--prompts", "p", "--config", str(path)], "test", "")
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_ranges_hold_for_the_command_line_too():
    with pytest.raises(InputError, match=r"command line: key 'lora\.r'"):
        parse(Config, ["--prompts", "p", "--lora.r", "0"], "test", "")


@pytest.mark.parametrize("arguments", [[], ["--prompts", "p", "--nonsense", "1"], ["--prompts", "p", "--mode", "c"]])
def test_a_wrong_command_line_leaves_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(Config, arguments, "test", "")
    assert caught.value.code == 2
    assert capsys.readouterr().err


def test_a_config_option_without_a_file_is_an_error(tmp_path):
    with pytest.raises(InputError, match="--config needs a file"):
        parse(Config, ["--config"], "test", "")
    with pytest.raises(InputError, match="does not exist"):
        parse(Config, ["--config", str(tmp_path / "gone.yaml")], "test", "")


def test_load_yaml_names_what_is_missing(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("lr: 1")
    with pytest.raises(InputError, match="required key missing: prompts"):
        load_yaml(Config, path)


def test_a_run_is_saved_beside_its_results(tmp_path):
    prompts = tmp_path / "p.json"
    prompts.write_text("{}")
    save_run(Config(prompts=prompts), tmp_path / "out.jsonl", {"prompts": prompts}, seeds=[1])
    record = json.loads((tmp_path / "out.jsonl.run.json").read_text())
    assert record["config"]["lr"] == 1e-3
    assert record["versions"]["worldcritic"]
    assert record["seeds"] == [1]
    assert record["inputs"]["prompts"]["sha256"].startswith("44136fa355b3")
