"""SIGKILL at any moment costs at most the calls in flight: the labels end up as if nothing had happened."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONCURRENCY = 4

# Runs are forked from a process that has imported everything, so that twenty of them take seconds.
FORKING = """
import os, sys
import openai, tenacity, pyarrow.parquet
import distill.label, distill.label_rows, distill.labelling, distill.teachers.loading
import distill.teachers.openai_compatible, reward.video.read
from worldcritic import main
for line in sys.stdin:
    child = os.fork()
    if not child:
        os.close(0)
        os.open(os.devnull, os.O_RDONLY)
        os.setsid()
        os._exit(main(line.rstrip("\\n").split("\\t")))
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


@pytest.fixture
def run(fake, key, world):
    """`run(out, calls, seconds)` labels into a folder and returns the exit status.

    It is killed so many seconds after it made so many calls.
    """
    code = ["-W", "ignore", "-c", FORKING]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, *code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True, env=environment, cwd=world,
    )  # fmt: skip

    def run(out, calls=None, seconds=0.0):
        data = ["--prompts", "many.jsonl", "--videos", "videos", "--out", out, "--concurrency", str(CONCURRENCY)]
        teacher = ["--teacher", "openai:m", "--base_url", f"{fake.address}/v1", "--workers", "1"]
        process.stdin.write("\t".join(["label", *teacher, *data]) + "\n")
        process.stdin.flush()
        child = int(process.stdout.readline())
        if calls is not None:
            enough, late = len(fake.questions) + calls, time.monotonic() + 30
            while len(fake.questions) < enough and time.monotonic() < late:
                time.sleep(0.002)
            time.sleep(seconds)
            os.kill(child, signal.SIGKILL)
        return os.waitstatus_to_exitcode(int(process.stdout.readline()))

    yield run
    process.stdin.close()
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize("kills", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_a_killed_run_goes_on_where_it_was(run, fake, world, kills):
    checks = [{"dimension": "mechanics", "question": f"Is it number {i}?"} for i in range(8 * kills)]
    record = {"prompt_id": "ball", "prompt": "A ball.", "events": ["It falls."], "checks": checks}
    (world / "many.jsonl").write_text(json.dumps(record))
    questions = 2 * (8 * kills + 1)
    fake.seconds = 0.02
    assert run("whole") == 0
    assert len(fake.questions) == questions
    fake.questions.clear()
    randomly = random.Random(kills)
    for _ in range(kills):
        assert run("killed", randomly.randrange(11), randomly.uniform(0.0, 0.05)) == -signal.SIGKILL
    assert 0 < len(fake.questions) < questions
    assert run("killed") == 0
    assert len(fake.questions) <= questions + kills * CONCURRENCY
    whole, killed = ((world / out / "labels.jsonl").read_bytes() for out in ("whole", "killed"))
    assert killed == whole
    assert len(whole.splitlines()) == questions
