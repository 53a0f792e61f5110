"""What the tests of dpo, rwr and nft share: tiny generators, scored rollouts and pairs, critics of known taste."""

import contextlib
import io
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest

from rl.tiny import save_tiny
from worldcritic import main

CRITICS = """
import math

from reward.fake import FakeCritic
from reward.model import RewardModel


def red(clip, question):
    return float(clip.frames[..., 0].mean()) / 255


def silent_on_blue(clip, question):
    return math.nan if "blue" in question else red(clip, question)


def flat_on_blue(clip, question):
    return 0.5 if "blue" in question else red(clip, question)


def make(p_yes):
    return lambda options: RewardModel(FakeCritic(p_yes))


likes_red = make(red)
hates_red = make(lambda clip, question: 1 - red(clip, question))
silent = make(lambda clip, question: math.nan)
half_silent = make(silent_on_blue)
half_flat = make(flat_on_blue)
"""
NAMES = ("likes_red", "hates_red", "silent", "half_silent", "half_flat")
PROMPTS = "".join(
    json.dumps(
        {"prompt_id": f"p{i}", "prompt": text, "checks": [{"dimension": "mechanics", "question": f"Is it {text}?"}]}
    )
    + "\n"
    for i, text in enumerate(("a red ball falls", "a blue square rises"), 1)
)
HELD_OUT = "a green ball rises\nthe camera moves left\n"


def install_critics(folder):
    """Make a package that offers critics under short names, as a user's would, and return its folder for sys.path."""
    (folder / "tasteful.py").write_text(CRITICS)
    record = folder / "tasteful-1.0.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: tasteful\nVersion: 1.0\n")
    lines = [f"{name} = tasteful:{name}\n" for name in NAMES]
    (record / "entry_points.txt").write_text("[worldcritic.critics]\n" + "".join(lines))
    return folder


def make_rollouts(folder, name="wan", num=6):
    """Sample a tiny generator, score by redness, mine pairs; all into `folder`."""
    (folder / "p.jsonl").write_text(PROMPTS)
    (folder / "h.txt").write_text(HELD_OUT)
    save_tiny(name, folder / "generator")
    run("sample", "--generator", folder / "generator", "--prompts", folder / "p.jsonl", "--out", folder / "rollouts",
        "--num", num, "--batch_size", 8, "--device", "cpu")  # fmt: skip
    run("score", "--critic", "likes_red", "--prompts", folder / "p.jsonl", "--videos", folder / "rollouts",
        "--out", folder / "scores.jsonl", "--workers", 1)  # fmt: skip
    run("mine", "--scores", folder / "scores.jsonl", "--videos", folder / "rollouts", "--out", folder / "pairs",
        "--rule", "scalar", "--tie_band", "0", "--min_probability", "0.5", "--max_uses", 1)  # fmt: skip
    return folder


def run(*arguments):
    """Run a verb that must succeed."""
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        code = main([str(argument) for argument in arguments])
    assert code == 0, errors.getvalue()
    return errors.getvalue()


def train(verb, data, out, *more):
    """Run a training verb on `make_rollouts`' folder and return its exit code."""
    return main(arguments(verb, data, out, *more))


def launch(verb, data, out, *more):
    """Do the same in two processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "-m", "worldcritic"]
    paths = os.pathsep.join([str(Path(__file__).parents[3]), *(path for path in sys.path if "critics" in path)])
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, *arguments(verb, data, out, *more)], capture_output=True, text=True, check=False, env=environment
    )


def arguments(verb, data, out, *more):
    """Return the command line of a small run."""
    own = {
        "dpo": ["--rollouts", data / "rollouts", "--pairs", data / "pairs"],
        "rwr": ["--rollouts", data / "rollouts", "--scores", data / "scores.jsonl", "--least_std", "1e-4"],
        "nft": ["--prompts", data / "p.jsonl", "--critic", "likes_red", "--groups", 2, "--group_size", 4,
                "--least_std", "1e-4"],
    }[verb]  # fmt: skip
    common = ["--generator", data / "generator", "--out", out, "--device", "cpu", "--report_to", "none"]
    small = ["--lora_r", 4, "--batch_size", 4, "--warmup", 0]
    return [str(each) for each in (verb, *common, *small, *own, *more)]


def log(out):
    """Return the rows of a run's log."""
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def lora(folder):
    """Return the tensors of a saved adapter."""
    from safetensors.torch import load_file

    return load_file(folder / "pytorch_lora_weights.safetensors")


@pytest.fixture(scope="session", autouse=True)
def _critics(tmp_path_factory):
    folder = install_critics(tmp_path_factory.mktemp("critics"))
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))
    sys.modules.pop("tasteful", None)


@pytest.fixture(scope="session")
def made(_critics, tmp_path_factory):
    """Name of a tiny generator -> the folder that `make_rollouts` filled."""
    return cache(lambda name: make_rollouts(tmp_path_factory.mktemp(name), name))


@pytest.fixture(scope="session")
def data(made):
    """Wan's."""
    return made("wan")


@pytest.fixture(scope="session")
def tools():
    """The functions above."""
    return SimpleNamespace(run=run, train=train, launch=launch, log=log, lora=lora, make_rollouts=make_rollouts)
