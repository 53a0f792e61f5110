"""The rules of the house: imports run one way, the front door is light, every config file is valid."""

import ast
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

import worldcritic
from worldcritic import VERBS, main

ROOT = Path(__file__).parent.parent
ALLOWED = {"reward": set(), "toyworld": {"reward"}, "distill": {"reward"}, "rl": {"reward"}}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield node.module


@pytest.mark.parametrize("package", [name for name in ALLOWED if (ROOT / name).is_dir()])
def test_imports_run_one_way(package):
    files = list((ROOT / package).rglob("*.py"))
    assert files
    for path in files:
        roots = {name.split(".")[0] for name in imports(path)} & {*ALLOWED, "worldcritic"}
        assert roots <= ALLOWED[package] | {package}, f"{path} imports {roots}"


def run(*code):
    return subprocess.run([sys.executable, *code], capture_output=True, text=True, check=True, cwd=ROOT).stdout


@pytest.mark.parametrize("module", ["reward", "worldcritic", *(module for module, _ in VERBS.values())])
def test_importing_loads_no_torch(module):
    heavy = run(
        "-c", f"import sys, {module}; print([m for m in ('torch', 'transformers', 'scipy') if m in sys.modules])"
    )
    assert heavy.strip() == "[]"


def test_every_public_name_of_reward_loads():
    import reward

    assert all(getattr(reward, name) is not None for name in reward.__all__)
    with pytest.raises(AttributeError):
        _ = reward.no_such_name


def test_help_is_quick():
    """At most 0.4 s; the best of five, because this measures us and not the machine's other work."""
    times = []
    for _ in range(5):
        started = time.perf_counter()
        out = run("-m", "worldcritic", "--help")
        times.append(time.perf_counter() - started)
    assert all(verb in out for verb in VERBS)
    assert min(times) <= 0.4


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb, capsys):
    with pytest.raises(SystemExit) as caught:
        main([verb, "--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert "--config" in out
    assert "--out" in out


def test_a_missing_extra_is_named_with_the_command_that_installs_it(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    (tmp_path / "p.txt").write_text("A red ball falls down.\n")
    arguments = [
        "sample",
        "--generator",
        "toyworld",
        "--prompts",
        str(tmp_path / "p.txt"),
        "--out",
        str(tmp_path / "o"),
    ]
    assert main(arguments) == 2
    assert "needs diffusers; install: pip install 'worldcritic[rl]'" in capsys.readouterr().err


def test_unknown_verbs_and_no_verb_leave_with_2(capsys):
    assert main(["scor"]) == 2
    assert "unknown verb 'scor'" in capsys.readouterr().err
    assert main([]) == 2
    assert main(["--version"]) == 0


def test_every_config_file_is_valid():
    from reward.config import load_yaml

    scripts = {"toyworld/generator.yaml": "toyworld.train_generator"}
    files = sorted(path for path in (ROOT / "configs").rglob("*.yaml") if path.parent.name != "accelerate")
    assert files
    for path in files:
        script = scripts.get(path.relative_to(ROOT / "configs").as_posix())
        module = __import__(script or VERBS[path.stem.split("-")[0]][0], fromlist=["Config"])
        assert load_yaml(module.Config, path)


def test_console_command_is_the_front_door():
    from importlib.metadata import entry_points

    (script,) = list(entry_points(group="console_scripts", name="worldcritic"))
    assert script.load() is worldcritic.main


def test_interrupting_leaves_with_130(monkeypatch, capsys, tmp_path):
    import reward.score

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(reward.score, "main", interrupt)
    (tmp_path / "p").write_text(json.dumps({}))
    assert main(["score", "--critic", "fake", "--prompts", "p", "--out", "o"]) == 130
    assert "the same command goes on" in capsys.readouterr().err
