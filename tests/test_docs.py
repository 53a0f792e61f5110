"""Every command and Python block in README.md and docs/ runs here, on tiny things, or says what it needs.

A trailing comment that begins with GPU, network, key or minutes marks a command (`# key: GEMINI_API_KEY`), the same
comment on its first line a Python block; `# sketch` marks one that is not whole. What is marked is not run: a command's
options are parsed and its config files loaded, a block's imports are looked up. All else runs, in the order of the
page, in a folder that holds what the pages name (`world`), with stand-ins for large models (`STAND_INS`) and small
numbers (`reduced`).
"""

import ast
import contextlib
import importlib
import importlib.util
import itertools
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

import worldcritic
from reward.config import parse
from reward.files import read_jsonl, write_json, write_jsonl
from worldcritic import VERBS

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").glob("*.md"))))

MARKS = {"GPU", "network", "key", "minutes", "sketch"}
TOY_WORLDS = ("demo", "demo/world")
"""Folders that the pages take for the toy world's: prompts.json, truth.jsonl, videos, scores.jsonl, labels."""
TOY_PROMPTS = ("prompts", "demo", "demo/loop")
"""Folders in which the pages look for prompts-train.json and prompts-heldout.json."""
SCORE_FILES = ("rollouts.jsonl", "trained.jsonl", "scores-qwen2_5_vl-00000-of-00008.jsonl")
"""Score files that a page takes from a command which needs a GPU; here they are scores.jsonl once more."""
STAND_INS = {
    "DIR": "toyworld",
    "CRITIC": "toyworld",
    "OTHER_CRITIC": "oracle",
    "Qwen/Qwen2.5-VL-7B-Instruct": "toyworld",
    "critic-qwen2_5_vl_7b/critic": "critic",
    "critic-sft/critic": "critic",
}
"""Arguments that name something large, and what takes their place when a command runs."""
BASE = "tiny-base"
"""What `sft` begins with, whatever model a page names."""

_COMMAND = re.compile(r"(?:[A-Z_]+=\S+ )*(?:worldcritic|python -m|make|pip|accelerate|torchrun|cat)(?= )")
_SHELL = ("", "sh", "bash", "shell", "console")


@dataclass(frozen=True)
class Item:
    """A command, continuation lines joined and its comment taken off, or a Python block; `where` is page and line."""

    where: str
    line: int
    text: str
    kind: str
    marked: bool

    @property
    def words(self):
        """A command's words, environment variables in front left out."""
        words = shlex.split(self.text)
        return words[len(self.environment) :]

    @property
    def environment(self):
        """The variables that are set in front of a command."""
        variables = {}
        for word in shlex.split(self.text):
            name, equals, value = word.partition("=")
            if not equals or not name.isupper():
                break
            variables[name] = value
        return variables


def blocks(text):
    """Yield (language, number of the first line, lines without indentation) of fenced and indented blocks."""
    lines, i = text.split("\n"), 0
    while i < len(lines):
        fence = re.match(r"(\s*)```(\w*)", lines[i])
        if fence:
            end = next(j for j in range(i + 1, len(lines)) if lines[j].strip() == "```")
            yield fence[2], i + 2, [line.removeprefix(fence[1]) for line in lines[i + 1 : end]]
            i = end + 1
        elif lines[i].startswith("    ") and (i == 0 or not lines[i - 1].strip()):
            width = len(lines[i]) - len(lines[i].lstrip())
            end = next((j for j in range(i, len(lines)) if not lines[j].startswith("    ")), len(lines))
            yield "", i + 1, [line[width:] if not line[:width].strip() else line for line in lines[i:end]]
            i = end
        else:
            i += 1


def is_marked(comment):
    return {kind.strip() for kind in comment.partition(":")[0].split(",")} <= MARKS


def items_of(text, page):
    """Return all commands and Python blocks of a page, in order."""
    found = []
    for language, first, lines in blocks(text):
        if language == "python":
            code = "\n".join(lines)
            comment = lines[0].removeprefix("#") if lines[0].startswith("#") else "none"
            found.append(Item(f"{page}:{first}", first, code, "python", is_marked(comment.strip())))
        if language not in _SHELL:
            continue
        numbered = iter(enumerate(lines, first))
        for number, whole in numbered:
            line = whole
            while line.endswith("\\"):
                line = f"{line[:-1].rstrip()} {next(numbered)[1].strip()}"
            command, hash_sign, comment = (part.strip() for part in re.split(r"(\s#\s|$)", line, maxsplit=1))
            if _COMMAND.match(line):
                marked = is_marked(comment if hash_sign else "none")
                found.append(Item(f"{page}:{number}", number, command, "command", marked))
    return found


ITEMS = {page: items_of((ROOT / page).read_text(), page) for page in PAGES}
ALL = [item for items in ITEMS.values() for item in items]
COMMANDS = [item for item in ALL if item.kind == "command"]
PYTHON = [item for item in ALL if item.kind == "python"]


# What can be said of a command without running it


def verb_and_arguments(item):
    """Return the verb of worldcritic and its arguments, through launchers too; None for another program."""
    words = item.words
    if words[0] in ("accelerate", "torchrun"):
        assert "worldcritic" in words, f"{item.where}: a launch of something else"
        words = words[words.index("worldcritic") :]
    return (words[1], words[2:]) if words[0] == "worldcritic" else None


def check_command(item):
    """Raise AssertionError, or what the verb raises, for a command that cannot be meant."""
    words = item.words
    if "--config_file" in words:
        assert (ROOT / words[words.index("--config_file") + 1]).is_file()
    found = verb_and_arguments(item)
    if found is not None and found[0] in VERBS:
        module = importlib.import_module(VERBS[found[0]][0])
        with contextlib.chdir(ROOT):
            assert parse(module.Config, found[1], found[0], "")
    elif found is not None:
        assert found[0] in ("--version", "--help"), f"{found[0]} is no verb"
    elif words[0] == "python":
        assert importlib.util.find_spec(words[2]), f"there is no module {words[2]}"
    elif words[0] == "make":
        subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, check=True, capture_output=True)
    elif words[0] == "pip":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        named = re.findall(r"\[([\w,-]+)\]", item.text)
        assert {extra for each in named for extra in each.split(",")} <= set(project["optional-dependencies"])


@pytest.mark.parametrize("item", COMMANDS, ids=lambda item: item.where)
def test_a_command_can_be_parsed(item):
    check_command(item)


def test_pages_hold_what_they_are_read_for():
    executed = [item for item in COMMANDS if not item.marked]
    assert len(COMMANDS) >= 60
    assert len(executed) >= 40
    assert sum(item.where.startswith("README") for item in executed) >= 15
    assert len(PYTHON) >= 5
    assert {verb_and_arguments(item)[0] for item in executed if item.words[0] == "worldcritic"} >= {
        *("score", "rank", "mine", "evaluate", "report", "label", "dataset", "calibrate", "sample", "dpo", "doctor")
    }


# Running


def run(*arguments):
    return worldcritic.main([str(each) for each in arguments])


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with everything that the pages name: two kinds of prompts, clips, scores, labels, pairs, critics."""
    folder = tmp_path_factory.mktemp("world")
    with contextlib.chdir(folder):
        Path("configs").symlink_to(ROOT / "configs")
        _make_toy_world(Path("demo"))
        for other in TOY_WORLDS[1:]:
            shutil.copytree("demo", other, ignore=shutil.ignore_patterns(*other.split("/")))
        _make_prompts()
        _make_generated()
        _make_critics()
    return folder


def _make_toy_world(out):
    videos = ("--prompts", out / "prompts.json", "--videos", out / "videos")
    assert run("toyworld", "--out", out, "--num", 6, "--candidates", 2) == 0
    assert run("score", "--critic", "toyworld", *videos, "--out", out / "scores.jsonl") == 0
    assert run("label", "--teacher", "truth", *videos, "--out", out / "labels") == 0


def _make_prompts():
    from toyworld.repertoire import write_splits

    known, held_out = (json.loads(path.read_text()) for path in write_splits(Path("all-prompts")))
    kept = dict(sorted(held_out.items())[::4][:8])
    ids = list(kept)
    write_json(Path("prompts.json"), {name: kept[name] for name in ids[:6]})
    for name, some in (("prompts.jsonl", ids[:6]), ("held-out.jsonl", ids[6:])):
        write_jsonl(Path(name), [{"prompt_id": each, **kept[each]} for each in some])
    for place in TOY_PROMPTS:
        write_json(Path(place) / "prompts-train.json", dict(list(known.items())[:2]))
        write_json(Path(place) / "prompts-heldout.json", {name: kept[name] for name in ids[6:]})


def _make_generated():
    """Make clips of prompts.json, and what follows from them up to a run of dpo."""
    assert run("sample", "--generator", "toyworld", "--prompts", "prompts.json", "--num", 3, "--out", "rollouts") == 0
    shutil.copytree("rollouts", "videos", ignore=shutil.ignore_patterns("conditions", "*.safetensors", "*.json*"))
    videos = ("--prompts", "prompts.json", "--videos", "videos")
    assert run("score", "--critic", "toyworld", *videos, "--out", "scores.jsonl") == 0
    assert run("label", "--teacher", "oracle", *videos, "--out", "labels") == 0
    assert run("mine", "--scores", "scores.jsonl", "--videos", "rollouts", "--out", "pairs", "--rule", "scalar") == 0
    assert run("dpo", "--generator", "toyworld", "--rollouts", "rollouts", "--pairs", "pairs", "--out", "run-dpo",
               "--steps", 1, "--report_to", "none") == 0  # fmt: skip
    for name in SCORE_FILES:
        shutil.copy("scores.jsonl", name)
    rows = [row for _, row in read_jsonl(Path("scores.jsonl"), "scores")]
    write_jsonl(Path("one-a-prompt.jsonl"), {row["prompt_id"]: row for row in rows}.values())
    assert run("evaluate", "--scores", "one-a-prompt.jsonl", "--prompts", "prompts.json",
               "--write_results", "eval_res.json") == 0  # fmt: skip
    by_prompt = {}
    for row in rows:
        by_prompt.setdefault(row["prompt_id"], []).append(row["video"])
    pairs = [{"prompt_id": name, "A": each[0], "B": each[1], "TA": "A"} for name, each in by_prompt.items()]
    write_json(Path("preferences.json"), {"pairs": pairs})


def _make_critics():
    from reward.tiny import tiny_model, tiny_tokenizer
    from toyworld.critic import FOLDER

    shutil.copytree(FOLDER, "critic")
    tokenizer = tiny_tokenizer()
    tiny_model("qwen2_5_vl", tokenizer).save_pretrained(BASE)
    tokenizer.save_pretrained(BASE)


def reduced(verb, arguments):
    """Return a verb's arguments with stand-ins for large things and small numbers behind, which win."""
    arguments = [STAND_INS.get(each, each) for each in arguments]
    small = {
        "toyworld": ["--num", "12"],
        "score": ["--device", "cpu", "--workers", "1"],
        "label": ["--workers", "1"],
        "dataset": ["--validation", "0.9", "--test", "0"],
        "sft": ["--model", BASE, "--max_steps", "1", "--video_frames", "4", "--max_pixels", "4096", "--workers", "0",
                "--device", "cpu", "--report_to", "none"],
        "calibrate": ["--folds", "2", "--resamples", "200", "--workers", "1", "--device", "cpu"],
        "sample": ["--num", "3", "--device", "cpu"],
        "evaluate": ["--resamples", "1000"],
        "dpo": ["--steps", "1", "--judge_clips", "2", "--report_to", "none", "--device", "cpu"],
        "rwr": ["--steps", "1", "--judge_clips", "2", "--report_to", "none", "--device", "cpu"],
        "nft": ["--steps", "1", "--updates", "1", "--groups", "1", "--group_size", "2", "--batch_size", "2",
                "--judge_clips", "2", "--report_to", "none", "--device", "cpu"],
        "doctor": ["--fast", "--device", "cpu"],
    }.get(verb, [])  # fmt: skip
    for option, value in itertools.pairwise(arguments):
        if option in ("--critic", "--generator", "--judge") and "/" in value:
            assert Path(value).is_dir(), f"{value} is not here: give it a stand-in, or the command a mark"
    if "--counterfactual" in arguments:
        small = ["--limit", "4", "--resamples", "1000", "--workers", "1", "--device", "cpu"]
    config = importlib.import_module(VERBS[verb][0]).Config
    fresh = ["--overwrite"] if "overwrite" in config.__dataclass_fields__ and "--resume" not in arguments else []
    return [*arguments, *small, *(fresh if "--dry_run" not in arguments else [])]


def execute(item, monkeypatch):
    """Run a command or a Python block in the present folder; AssertionError or its own error if it fails."""
    if item.kind == "python":
        exec(compile(item.text, item.where, "exec"), {"__name__": "page"})
        return
    found = verb_and_arguments(item)
    with monkeypatch.context() as patched:
        for name, value in item.environment.items():
            patched.setenv(name, value)
        if found is None:
            words = [sys.executable, *item.words[1:]] if item.words[0] == "python" else ["sh", "-c", item.text]
            subprocess.run(words, check=True, capture_output=True, timeout=60)
        elif found[0] in VERBS:
            assert run(found[0], *reduced(*found)) == 0
        else:
            assert run(*item.words[1:]) == 0


@pytest.mark.parametrize("page", [page for page in PAGES if ITEMS[page]])
def test_a_page_runs(page, world, tmp_path, monkeypatch, capsys):
    """One test a page, since its commands build on each other; all that fail are told."""
    shutil.copytree(world, tmp_path / "here", symlinks=True)
    monkeypatch.chdir(tmp_path / "here")
    failed = []
    for item in ITEMS[page]:
        if item.marked:
            continue
        try:
            execute(item, monkeypatch)
        except (Exception, SystemExit) as error:
            err = capsys.readouterr().err.strip().split("\n")[-1]
            failed.append(f"{item.where}: {item.text}\n    {type(error).__name__}: {error} {err}")
    assert not failed, "\n".join(failed)


@pytest.mark.parametrize("item", PYTHON, ids=lambda item: item.where)
def test_imports_of_a_python_block_resolve(item):
    for node in ast.walk(ast.parse(item.text)):
        if isinstance(node, ast.Import):
            assert all(importlib.util.find_spec(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names)


# What is said in passing

_ELSEWHERE = {"config", "help", "version", "cpu", "num_processes", "nproc_per_node", "config_file", "eval_dim"}
"""Options of all verbs, and of other programs that the pages name."""


def test_an_option_named_in_passing_exists():
    known = {
        name for module, _ in VERBS.values() for name in importlib.import_module(module).Config.__dataclass_fields__
    }
    for page in PAGES:
        for span in re.findall(r"`([^`\n]+)`", (ROOT / page).read_text()):
            for option in re.findall(r"(?<![\w-])--([a-z]\w*(?:-\w+)*)", span):
                assert option.removeprefix("no-") in known | _ELSEWHERE, f"{page}: no verb has --{option}"


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        folder = (ROOT / page).parent
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / page).read_text()):
            assert (folder / target).exists(), f"{page}: {target}"


def strings_of_the_code():
    """Return all string literals, parts of f-strings joined by a gap, with spaces as single ones."""
    found = []
    packages = [path for name in ("reward", "distill", "rl", "toyworld") for path in (ROOT / name).rglob("*.py")]
    for path in (*ROOT.glob("*.py"), *packages):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "\0" for part in node.values]
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(" ".join(each.split(" ")) for each in found)


def test_messages_that_are_explained_are_printed_by_the_code():
    """In bold and code, with `...` for what varies; those of other programs are named here."""
    others = {"accelerate launch --cpu --num_processes 2 -m worldcritic ..."}
    said, explained = strings_of_the_code(), 0
    text = " ".join((ROOT / "docs/troubleshooting.md").read_text().split("\n"))
    for bold in re.findall(r"\*\*(.+?)\*\*", text):
        for message in re.findall(r"`([^`]+)`", bold):
            pieces = [piece.strip() for piece in re.split(r"'?\.\.\.'?", message) if len(piece.strip()) > 3]
            if message not in others and " " in message:
                explained += 1
                assert all(piece in said for piece in pieces), message
    assert explained >= 30


# The reader of the pages itself

PAGE = """# A page

    worldcritic score --critic x \\
        --out y    # GPU: a large one
    worldcritic.py     no command
      make nothing     deeper than its block

Text with `worldcritic inline`, and no block:
    worldcritic not --after a blank line

- a list

      KEY=a worldcritic rank --scores s    # a plain comment

```sh
pip install 'x[a]'  # network, minutes
$ worldcritic typed
```

```python
# sketch
x = 1
```
"""


def test_the_reader_finds_commands_and_marks():
    found = items_of(PAGE, "page")
    assert [(item.where, item.text, item.marked) for item in found] == [
        ("page:3", "worldcritic score --critic x --out y", True),
        ("page:13", "KEY=a worldcritic rank --scores s", False),
        ("page:16", "pip install 'x[a]'", True),
        ("page:21", "# sketch\nx = 1", True),
    ]
    assert found[1].environment == {"KEY": "a"}
    assert found[1].words[0] == "worldcritic"


@pytest.mark.parametrize(
    "text",
    [
        "worldcritic score --critic x --prompts p --out o --no_such_option 1",
        "worldcritic scor --critic x",
        "worldcritic score --config configs/none.yaml",
        "make no-such-target",
        "pip install 'x[no-such-extra]'",
        "python -m toyworld.no_such_module",
        "accelerate launch --config_file configs/accelerate/none.yaml -m worldcritic sft",
    ],
)
def test_a_command_that_cannot_be_meant_is_found(text, capsys):
    with pytest.raises((Exception, SystemExit)):
        check_command(Item("page:1", 1, text, "command", True))
