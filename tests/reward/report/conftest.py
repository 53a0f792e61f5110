"""Everything that a report can show, small: scored videos of two generators, pairs, a calibration, a training run."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from reward import Check, Prompt, write_video
from reward.dimensions import NAMES
from reward.scoring import prompt_hash

HOSTILE = '<script>alert("x")</script> & \'"><img src=x onerror=alert(1)>'
PROMPTS = [
    Prompt(
        "ball",
        "A red ball falls, then bounces off the floor.",
        ("the ball falls", "the ball bounces"),
        (Check("mechanics", "Does the ball speed up as it falls?"), Check("layout_2d", "Is the floor below the ball?")),
    ),
    Prompt("evil", HOSTILE, (), (Check("common_sense", f"Is {HOSTILE} plausible?"),)),
    Prompt("cube", "A blue cube stands still.", (), (Check("attribution_correctness", "Is the cube blue?"),)),
]


def moving(level, frames=8, size=(48, 64)):
    """Frames (T, H, W, 3) of a square that moves to the right."""
    made = np.full((frames, *size, 3), 30, np.uint8)
    for t in range(frames):
        made[t, 12:36, 4 * t : 4 * t + 24, :] = (level, 255 - level, 120)
    return made


def score_row(prompt, video, p, **more):
    """A row as `worldcritic score` writes it; `p` is every p_yes."""
    dimensions = dict.fromkeys(NAMES) | {check.dimension: p for check in prompt.checks}
    events = None
    if prompt.events:
        n = len(prompt.events)
        dimensions["event_following"] = p
        events = {"n": n, "expected_lcs": n * p, "order": "AB" if p > 0.5 else "B", "answer_mass": 0.9}
    return {
        "prompt_id": prompt.id, "video": video, "sha256": None, "status": "ok", "error": None, "reward": p,
        "reward_std": 0.1, "dimensions": dimensions,
        "dimension_stds": {name: None if value is None else 0.1 for name, value in dimensions.items()},
        "questions": [
            {"dimension": check.dimension, "question": check.question, "p_yes": p, "answer_mass": 1.0}
            for check in prompt.checks
        ],
        "events": events, "gates": {"motion": 20.0, "brightest": 200.0, "closed": []},
        "prompt_sha256": prompt_hash(prompt),
        "critic": {"name": "toy <critic>", "calibrated": True, "trained": True}, **more,
    }  # fmt: skip


def failed_row(prompt, video, status, error):
    row = score_row(prompt, video, 0.0)
    return row | {
        "status": status, "error": error, "reward": None, "reward_std": None, "questions": [], "events": None,
        "gates": None, "dimensions": dict.fromkeys(NAMES), "dimension_stds": dict.fromkeys(NAMES),
    }  # fmt: skip


def write_rows(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_prompts(path, prompts=PROMPTS):
    rows = [
        {
            "prompt_id": each.id,
            "prompt": each.text,
            "events": list(each.events),
            "checks": [{"dimension": check.dimension, "question": check.question} for check in each.checks],
        }
        for each in prompts
    ]
    return write_rows(path, rows)


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """Paths of all inputs; made once, never changed."""
    root = tmp_path_factory.mktemp("report")
    ball, evil, cube = PROMPTS
    levels = {"ball/0.mp4": 0.9, "ball/1.mp4": 0.4, "ball/2.mp4": 0.6, 'evil/"on error=1 <b>&#35;.mp4': 0.2}
    levels["javascript:alert(1).mp4"] = 0.7
    for name, p in levels.items():
        write_video(root / "wan" / "videos" / name, moving(round(250 * p)), 8.0)
    (root / "wan" / "videos" / "ball" / "3.mp4").write_bytes(b"no video at all")
    closed = {"gates": {"motion": 0.0, "brightest": 200.0, "closed": ["frozen"]}}
    hostile, scheme = list(levels)[3:]
    wan = [
        *(score_row(ball, f"ball/{i}.mp4", levels[f"ball/{i}.mp4"]) for i in range(3)),
        failed_row(ball, "ball/3.mp4", "error", "no video stream <in it>"),
        score_row(evil, hostile, 0.2),
        score_row(evil, scheme, 0.7),
        score_row(cube, "gone.mp4", 0.0, **closed),
    ]
    for name, p in {"ball.mp4": 0.8, "evil.mp4": 0.9, "cube.mp4": 0.3}.items():
        write_video(root / "ltx" / "videos" / name, moving(round(200 * p)), 8.0)
    ltx = [score_row(ball, "ball.mp4", 0.8), score_row(evil, "evil.mp4", 0.9), score_row(cube, "cube.mp4", 0.3)]
    for name, rows in (("wan", wan), ("ltx", ltx)):
        write_rows(root / name / f"{name}.jsonl", rows)
        run = root / name / f"{name}.jsonl.run.json"
        run.write_text(json.dumps({"videos_folder": str(root / name / "videos")}))
    return SimpleNamespace(
        root=root,
        wan=root / "wan" / "wan.jsonl",
        ltx=root / "ltx" / "ltx.jsonl",
        prompts=write_prompts(root / "prompts.jsonl"),
        pairs=_pairs(root),
        calibration=_calibration(root),
        training=_training(root),
    )


def _pairs(root):
    from collections import Counter

    from reward.files import sha256_file, write_json
    from reward.found_pairs import Found
    from reward.pair_report import pair_report
    from reward.preference_pairs import PreferencePair, Side, file_name, write_videofolder

    sides = [
        Side(f"ball/{i}.mp4", path, sha256_file(path), reward, 0.1, 20.0, {"mechanics": reward}, {"mechanics": 0.1})
        for i, reward in ((0, 0.9), (1, 0.4))
        for path in [root / "wan" / "videos" / "ball" / f"{i}.mp4"]
    ]
    pair = PreferencePair("ball", PROMPTS[0].text, *sides, probability=0.97, margin=0.5, rule="margin")
    found = Found([pair], [], 3, Counter({"margin < 0.2 <of> noise": 2}), {})
    folder = root / "pairs"
    for side in sides:
        target = folder / file_name(side)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(side.path.read_bytes())
    write_videofolder(folder, [pair], [])
    write_json(folder / "report.json", pair_report(found))
    return folder


def _calibration(root):
    """What `calibrate` writes, by its own functions, of made-up answers that are too sure."""
    from distill.calibration_report import reliability_json, table_lines
    from reward.calibrator import Answers, Calibrator
    from reward.files import write_json

    rng = np.random.default_rng(0)
    true = rng.uniform(0.05, 0.95, 200)
    answers = Answers(
        np.clip(true + 0.6 * (true - 0.5), 0.01, 0.99),
        (rng.random(200) < true).astype(float),
        np.array(["mechanics", "layout_2d"] * 100),
        np.array([f"p{i // 10}" for i in range(200)]),
    )
    calibrator = Calibrator("none").fit(answers)
    record = {
        "critic": {"name": "toy <critic>"},
        "fit": {"answers": 200, "prompts": 20},
        "table": table_lines(calibrator, answers, true, 20, 0),
        "reliability": reliability_json(answers, true, 20, 0),
    }
    write_json(root / "calibration" / "report.json", record)
    return root / "calibration"


def _training(root):
    from rl.monitor import write_page

    run = root / "run"
    points = [
        {
            "step": step, "clips": 2, "missing": 0, "reward": 0.4 + step / 100, "judge": 0.5 - step / 200,
            "judge_se": 0.02, "judge_clips": {"ball": [0.5]}, "diversity": 1.0 - step / 50, "motion": 20.0,
            "presence": None, "drift": step / 1000, "judge_dimensions": {"mechanics": 0.5 + step / 100},
            "reward_dimensions": {"mechanics": 0.5},
        }
        for step in (0, 10, 20)
    ]  # fmt: skip
    log = [{"step": step, "loss": 1 / step, "reward_mean": 0.4 + step / 100} for step in range(1, 21)]
    run.mkdir()
    write_page(run, points, {20: ["the judge fell by 0.100 <b>"]}, log)
    write_rows(run / "log.jsonl", log)
    for step, level in ((0, 80), (20, 220)):
        folder = run / "samples" / f"step-{step:06d}"
        for number in range(2):
            write_video(folder / "ball" / f"{number:03d}.mp4", moving(level), 8.0)
        rows = [
            {"prompt_id": "ball", "number": n, "motion": 20.0, "reward": 0.4, "judge": level / 255} for n in range(2)
        ]
        write_rows(folder / "scores.jsonl", rows)
    return run


@pytest.fixture(scope="module")
def thousand(tmp_path_factory):
    """250 prompts in VideoVerse's size (3 events, 10 questions), four videos each: links to one small file."""
    root = tmp_path_factory.mktemp("thousand")
    write_video(root / "one.mp4", moving(200), 8.0)
    rng = np.random.default_rng(0)
    names = [name for name in NAMES if name != "event_following"]
    checks = tuple(
        Check(names[i % 9], f"Is what the prompt asks for as number {i} seen in it, and well?") for i in range(10)
    )
    prompts = [
        Prompt(f"p{i:03d}", f"Prompt {i}: " + "a thing does something, " * 12, ("one", "two", "three"), checks)
        for i in range(250)
    ]
    rows = []
    for prompt in prompts:
        (root / "videos" / prompt.id).mkdir(parents=True)
        for number in range(4):
            name = f"{prompt.id}/{number}.mp4"
            (root / "videos" / name).hardlink_to(root / "one.mp4")
            row = score_row(prompt, name, float(rng.random()))
            row["dimensions"] = {name: float(rng.random()) for name in NAMES}
            row["dimension_stds"] = dict.fromkeys(NAMES, 0.1)
            rows.append(row)
    scores = write_rows(root / "scores.jsonl", rows)
    (root / "scores.jsonl.run.json").write_text(json.dumps({"videos_folder": str(root / "videos")}))
    return SimpleNamespace(scores=scores, prompts=write_prompts(root / "prompts.jsonl", prompts))
