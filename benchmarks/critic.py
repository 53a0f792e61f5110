"""How right a critic is about the toy world: accuracy per dimension, event orders, calibration, and harmless changes.

    python benchmarks/critic.py --critic toyworld --num 400 --seed 4000

Fresh clips are drawn, written as mp4, read back, changed, and judged; truth is by construction. "order" counts exactly
right event orders. "absent" is the share of questions about something that is not in the clip answered Yes. The last
table tells which wordings went wrong.
"""

import dataclasses
import json
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import tyro

from reward.dimensions import CHECK_NAMES
from reward.metrics import brier, ece_width, nll
from reward.model import RewardModel
from reward.prompts import Check, Prompt
from reward.video import Clip, FrameSampling, read_video, write_video
from toyworld.draw import Drawn, draw
from toyworld.perturb import Frames, add_noise, blur, halve, shift_hue
from toyworld.questions import parse_question
from toyworld.repertoire import split
from toyworld.scene import Array
from toyworld.stories import absent_check
from toyworld.world import World


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    critic: str = "toyworld"
    """A critic's folder or short name."""
    num: int = 400
    """Clips."""
    seed: int = 4000
    """Seed of the clips; the embedded critic is trained, chosen and calibrated on others."""
    size: int = 64
    """Width and height of the clips in pixels."""
    frames: int = 16
    """Frames of a clip."""
    generated: int = 0
    """Also judge so many clips per held-out prompt that the toy world's generator makes, against the oracle."""
    changes: bool = True
    """Also judge the clips after harmless changes."""
    threads: int = 1
    """Threads of PyTorch."""
    out: Path | None = None
    """JSON file for the figures."""


def changes(folder: Path, world: World) -> dict[str, Callable[[Frames], Frames]]:
    rng = np.random.default_rng(0)

    def crf30(frames: Frames) -> Frames:
        write_video(folder / "again.mp4", frames, world.fps, crf=30)
        return read_video(folder / "again.mp4", FrameSampling(num_frames=len(frames))).frames

    return {
        "as decoded": lambda frames: frames,
        "blur 1.0": lambda frames: blur(frames, 1.0),
        "half and back": halve,
        "hue +8": lambda frames: shift_hue(frames, 8),
        "hue -8": lambda frames: shift_hue(frames, -8),
        "noise 6": lambda frames: add_noise(frames, 6, rng),
        "crf 30": crf30,
    }


@dataclasses.dataclass(frozen=True)
class Answer:
    """The critic's answer to one check, and the truth."""

    check: Check
    p_yes: float
    truth: bool

    @property
    def right(self) -> bool:
        return (self.p_yes >= 0.5) == self.truth

    @property
    def wording(self) -> str:
        """The question with its things, colours and sides left open."""
        parsed = parse_question(self.check.question)
        return parsed[0].question if parsed else self.check.question


@dataclasses.dataclass
class Outcome:
    """Answers to the checks, and which event orders were right, of one pass over the clips."""

    answers: list[Answer] = dataclasses.field(default_factory=list)
    orders: list[bool] = dataclasses.field(default_factory=list)
    seconds: float = 0.0

    def by_dimension(self) -> dict[str, list[Answer]]:
        found = {name: [each for each in self.answers if each.check.dimension == name] for name in CHECK_NAMES}
        return {name: answers for name, answers in found.items() if answers}

    def row(self) -> dict[str, float]:
        known = known_answers(self.answers)
        return {
            "all": float(np.mean([each.right for each in self.answers])),
            "order": float(np.mean(self.orders)),
            **{name: float(np.mean([each.right for each in some])) for name, some in self.by_dimension().items()},
            "ECE": ece_width(*known),
            "Brier": brier(*known),
            "NLL": nll(*known),
            "ms": 1000 * self.seconds,
        }

    def ece(self) -> dict[str, float]:
        """Return the expected calibration error of each dimension's checks."""
        return {name: ece_width(*known_answers(some)) for name, some in self.by_dimension().items()}

    def wrong(self) -> list[tuple[str, int, int, int]]:
        """Return per wording how often it was asked, wrongly answered Yes, and wrongly No; the worst first."""
        asked = Counter(each.wording for each in self.answers)
        wrong = Counter((each.wording, each.truth) for each in self.answers if not each.right)
        rows = [(wording, count, wrong[wording, False], wrong[wording, True]) for wording, count in asked.items()]
        return sorted((row for row in rows if row[2] or row[3]), key=lambda row: -row[2] - row[3])


def known_answers(answers: list[Answer]) -> tuple[Array, Array, Array]:
    """Return p_yes, truth and weights, as the metrics take them."""
    truth = np.array([each.truth for each in answers], dtype=float)
    return np.array([each.p_yes for each in answers]), truth, np.ones(len(answers))


def judge(model: RewardModel, drawn: list[Drawn], clips: list[Clip], change: Callable[[Frames], Frames]) -> Outcome:
    outcome, started = Outcome(), time.perf_counter()
    changed = [dataclasses.replace(clip, frames=change(clip.frames)) for clip in clips]
    rewards = model.score(changed, [each.toy_prompt.prompt for each in drawn])
    for each, reward in zip(drawn, rewards, strict=True):
        outcome.orders.append(reward.order is not None and reward.order.best == each.clip.order)
        for check, yes, answer in zip(each.toy_prompt.prompt.checks, each.clip.checks, reward.answers, strict=True):
            outcome.answers.append(Answer(check, answer.p_yes, yes))
    outcome.seconds = (time.perf_counter() - started) / len(drawn)
    return outcome


ABSENT = 8
"""Questions a clip about something that is not in it."""


def absent_share(model: RewardModel, drawn: list[Drawn], clips: list[Clip]) -> dict[str, float]:
    rng = np.random.default_rng(1)
    prompts = [
        Prompt("p", each.toy_prompt.prompt.text, (), tuple(absent_check(rng, each.toy_prompt) for _ in range(ABSENT)))
        for each in drawn
    ]
    said_yes: dict[str, list[bool]] = defaultdict(list)
    for prompt, reward in zip(prompts, model.score(clips, prompts), strict=True):
        for check, answer in zip(prompt.checks, reward.answers, strict=True):
            said_yes[check.dimension].append(answer.p_yes >= 0.5)
    return {name: float(np.mean(each)) for name, each in sorted(said_yes.items())}


def judge_generated(model: RewardModel, num: int) -> dict[str, float]:
    """Return the agreement with the oracle on clips of the generator's held-out prompts, where the oracle can tell."""
    from rl.clips import score_clips
    from rl.generator import Generator

    generator = Generator.load("toyworld", device="cpu", dtype="float32")
    oracle = RewardModel.from_pretrained("oracle", gates=False)
    prompts = [known.toy_prompt.prompt for known in split("heldout")]
    conditions = generator.encode([prompt.text for prompt in prompts])
    outcome = Outcome()
    for number in range(num):
        seeds = [7_000_000 + 1000 * i + number for i in range(len(prompts))]
        videos = list(generator.decode(generator.sample(conditions, seeds)))
        started = time.perf_counter()
        rewards = score_clips(model, videos, prompts, generator.sampling.fps)
        outcome.seconds += (time.perf_counter() - started) / len(prompts) / num
        for prompt, reward, so in zip(prompts, rewards, score_clips(oracle, videos, prompts, 8.0), strict=True):
            if so.order is not None and so.order.answer_mass:
                outcome.orders.append(reward.order.best == so.order.best)
            for check, answer, true in zip(prompt.checks, reward.answers, so.answers, strict=True):
                if true.answer_mass:
                    outcome.answers.append(Answer(check, answer.p_yes, true.p_yes >= 0.5))
    return outcome.row()


def main(options: Options) -> None:
    torch.set_num_threads(options.threads)
    model = RewardModel.from_pretrained(options.critic, device="cpu", gates=False)
    world = World(size=options.size, frames=options.frames)
    drawn = list(draw(options.num, options.seed))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        clips = []
        for each in drawn:
            write_video(folder / "clip.mp4", world.render(each.clip.scene), world.fps)
            clips.append(read_video(folder / "clip.mp4", model.critic.sampling))
        outcomes = {
            name: judge(model, drawn, clips, change)
            for name, change in changes(folder, world).items()
            if options.changes or name == "as decoded"
        }
    report = {name: outcome.row() for name, outcome in outcomes.items()}
    again = judge(model, drawn[:40], clips[:40], lambda frames: frames).answers
    same = judge(model, drawn[:40], clips[:40], lambda frames: frames).answers == again
    absent = absent_share(model, drawn, clips)
    if options.generated:
        report["generated"] = judge_generated(model, options.generated)
    columns = list(report["as decoded"])
    print("| change | " + " | ".join(columns) + " |\n|" + "---|" * (len(columns) + 1))
    for name, row in report.items():
        print(f"| {name} | " + " | ".join(f"{row.get(column, np.nan):.3f}" for column in columns) + " |")
    ece = outcomes["as decoded"].ece()
    print("ECE of each, as decoded: " + ", ".join(f"{name} {value:.3f}" for name, value in ece.items()))
    print("absent, said Yes: " + ", ".join(f"{name} {share:.3f}" for name, share in absent.items()))
    print(f"the same answers twice to the bit: {same}")
    wrong = outcomes["as decoded"].wrong()
    print("\n| wording | asked | wrongly Yes | wrongly No |\n|---|---|---|---|")
    for line in wrong:
        print("| " + " | ".join(map(str, line)) + " |")
    if options.out:
        figures = {"changes": report, "absent": absent, "same_twice": same, "ECE": ece, "wrong": wrong}
        options.out.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__, use_underscores=True))
