"""Checks of a critic as a reward: repeatable, the same however questions are packed, and not blind."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from reward.answers import Judgement
from reward.candidates import Candidate, find_candidates
from reward.counterfactual import Judging, measure_changes, report
from reward.errors import InputError
from reward.model import RewardModel
from reward.options import LoadOptions
from reward.perturbations import REVERSED, SHUFFLED
from reward.prompts import Prompt, load_prompts, with_generic_questions
from reward.video import Clip, VideoReaders, read_video, write_video
from rl.checks.outcome import Check, Outcome, at_most, failed, passed, skipped, warned

TOY_WORLD = ("toyworld", "oracle")
"""Critics that know the toy world, whose clips are made on the spot for them."""
NO_VIDEOS = "no videos that this critic knows"
GIVE_VIDEOS = "give some, of two prompts or more: --videos DIR --prompts FILE"
_MOTION = ("event_following", "mechanics", "interaction", "material_properties", "natural_constraints")
_FRAMES = 16
_LITTLE_MASS = 0.5


@dataclass(eq=False)
class Examined:
    """A critic and what it is shown: two clips or more with prompts; `candidates` are videos it should understand."""

    model: RewardModel
    clips: Sequence[Clip]
    prompts: Sequence[Prompt]
    candidates: Sequence[Candidate] = ()
    seed: int = 0

    @cached_property
    def judgements(self) -> list[Judgement]:
        """What the critic says of the clips."""
        return self.model.critic.judge(self.clips, self.prompts)

    @cached_property
    def changes(self) -> Mapping[str, Any] | None:
        """The counterfactual report of reward/counterfactual.py; None without candidates of two prompts."""
        if len({candidate.prompt.id for candidate in self.candidates}) < 2:
            return None
        with VideoReaders(workers=1) as readers:
            *_, found = measure_changes(self.model, self.candidates, readers, self.seed)
        return report(found, Judging(seed=self.seed))


def critic_checks(examined: Examined) -> list[Check]:
    """Return the checks of a loaded critic."""
    return [
        Check("same answer twice", lambda: same_twice(examined)),
        Check("packed questions as separate ones", lambda: packed_as_separate(examined)),
        Check("answer mass", lambda: answer_mass(examined)),
        Check("frozen and black clips are paid nothing", lambda: gates(examined)),
        Check("scores depend on the video", lambda: depends(examined, "video"), slow=True),
        Check("scores depend on the prompt", lambda: depends(examined, "prompt"), slow=True),
        Check("shuffled and reversed score otherwise", lambda: motion(examined), slow=True),
    ]


def same_twice(examined: Examined) -> Outcome:
    """Check that the critic gives the same answers to the bit when it is asked again."""
    again = examined.model.critic.judge(examined.clips, examined.prompts)
    advice = "rewards will be noisy: look for sampling or dropout in the critic; on a GPU try --dtype float32"
    return at_most(difference(examined.judgements, again), 0.0, advice)


def packed_as_separate(examined: Examined) -> Outcome:
    """Check that questions asked together, behind one encoded video, get the answers they get alone."""
    from reward.critic import VideoCritic

    critic = examined.model.critic
    if not isinstance(critic, VideoCritic):
        return skipped(f"a {type(critic).__name__} does not share a prefix between questions")
    separate = VideoCritic(critic.model, critic.tokenizer, critic.manifest, LoadOptions(sharing="separate"))
    alone = separate.judge(examined.clips, examined.prompts)
    bar = 1e-4 if "float32" in str(critic.model.dtype) else 0.03
    return at_most(
        difference(examined.judgements, alone),
        bar,
        "score with --sharing separate, and report this with the versions of torch and transformers",
    )


def difference(first: Sequence[Judgement], second: Sequence[Judgement]) -> float:
    """Return the largest difference of any probability; answers that are missing in both agree."""
    apart = 0.0
    for one, other in zip(first, second, strict=True):
        pairs = [(a.p_yes, b.p_yes) for a, b in zip(one.answers, other.answers, strict=True)]
        orders = [each.order.probabilities if each.order else {} for each in (one, other)]
        pairs += [(orders[0].get(key, 0.0), orders[1].get(key, 0.0)) for key in {**orders[0], **orders[1]}]
        values = np.array(pairs, dtype=np.float64).reshape(-1, 2)
        if not np.array_equal(np.isnan(values[:, 0]), np.isnan(values[:, 1])):
            return float("nan")
        known = values[~np.isnan(values[:, 0])]
        apart = max(apart, float(np.abs(known[:, 0] - known[:, 1]).max(initial=0.0)))
    return apart


def answer_mass(examined: Examined) -> Outcome:
    """Check that the critic means to answer: Yes and No, or the letters of events, are what it would say."""
    masses = [answer.answer_mass for each in examined.judgements for answer in each.answers]
    masses += [each.order.answer_mass for each in examined.judgements if each.order]
    if not masses:
        return skipped("the prompts ask nothing")
    mean, least = float(np.mean(masses)), examined.model.min_answer_mass
    bar = max(least, _LITTLE_MASS)
    measured = f"mean {mean:.3f}, least {min(masses):.3f}; answers below {least:g} do not count"
    if mean >= bar:
        return passed(measured, f"mean {bar:g}", mean)
    advice = "the critic would rather say something else: train it on these questions, or score what it knows"
    return warned(measured, advice, f"mean {bar:g}", mean)


def gates(examined: Examined) -> Outcome:
    """Check that a clip in which nothing moves, and a black one, get reward 0 whatever the critic says."""
    clip, prompt = examined.clips[0], examined.prompts[0]
    still = replace(clip, frames=np.repeat(clip.frames[:1], len(clip.frames), axis=0))
    black = replace(clip, frames=np.zeros_like(clip.frames))
    rewards = examined.model.score([still, black], [prompt, prompt])
    paid = max(reward.scalar for reward in rewards)
    measured = f"paid {paid:.3g}; without gates {', '.join(f'{reward.ungated:.3f}' for reward in rewards)}"
    if all(reward.gates and reward.gates.closed and reward.scalar == 0 for reward in rewards):
        return passed(measured, "0", paid)
    return failed(measured, "a generator will learn to stand still: switch the gates on", "0", paid)


def depends(examined: Examined, what: str) -> Outcome:
    """Check that another video, or another prompt, changes the scores."""
    if examined.changes is None:
        return skipped(NO_VIDEOS, GIVE_VIDEOS)
    found = examined.changes[f"depends_on_{what}"]
    if "mean_size" not in found:
        return skipped(found["reason"], GIVE_VIDEOS)
    value, bar = found["mean_size"]["value"], f"above {examined.changes['margin']:g}"
    measured = f"another {what} changes them by {value:.3f}, {examined.changes['videos']} videos"
    if found["verdict"] == "yes":
        return passed(measured, bar, value)
    if found["verdict"] == "no":
        return failed(measured, f"the critic ignores its {what}: do not train on its reward", bar, value)
    return warned(measured, f"too few videos to tell; {GIVE_VIDEOS}", bar, value)


def motion(examined: Examined) -> Outcome:
    """Check that the scores of what happens move when frames are shuffled or reversed."""
    if examined.changes is None:
        return skipped(NO_VIDEOS, GIVE_VIDEOS)
    margin, sizes = examined.changes["margin"], {}
    for name in (REVERSED, SHUFFLED):
        lines = [line for line in examined.changes["changes"][name] if line["dimension"] in _MOTION]
        known = [line["mean_size"]["value"] for line in lines if line["mean_size"] is not None]
        if not known:
            return skipped("the prompts ask nothing about motion", GIVE_VIDEOS)
        sizes[name] = float(np.mean(known))
    least = min(sizes.values())
    changed = ", ".join(f"{name} by {size:.3f}" for name, size in sizes.items())
    measured = f"{changed}, {examined.changes['videos']} videos"
    if least > margin:
        return passed(measured, f"above {margin:g}", least)
    advice = "the critic judges motion by single frames: its reward for dynamics is worth little"
    return warned(measured, advice, f"above {margin:g}", least)


def examine(
    name: str,
    model: RewardModel,
    folder: Path,
    given: tuple[Path | None, Path | None] = (None, None),
    *,
    num: int = 8,
    seed: int = 0,
) -> Examined:
    """Return a critic with the user's videos and prompts (`given`), else with clips that are made in `folder`."""
    videos, prompts = given
    if videos is not None:
        if prompts is None:
            raise InputError("--videos needs the prompts they were made for: --prompts FILE")
        candidates = _spread(find_candidates(load_prompts(prompts), videos).found, num)
        if len(candidates) < 2:
            raise InputError(f"--videos {videos}: holds fewer than two videos of the prompts in {prompts}")
    elif name in TOY_WORLD:
        candidates = _toy_world(folder, num, seed)
    else:
        clips = [_synthetic(folder / f"{i}.mp4", model, i) for i in range(2)]
        texts = ("A red square moves to the right.", "A red square moves down.")
        return Examined(model, clips, [with_generic_questions(f"p{i}", text) for i, text in enumerate(texts)], (), seed)
    shown = candidates[:2]
    clips = [read_video(each.path, model.critic.sampling) for each in shown]
    return Examined(model, clips, [each.prompt for each in shown], candidates, seed)


def _spread(candidates: Sequence[Candidate], num: int) -> list[Candidate]:
    """Return up to `num` candidates, of as many prompts as there are."""
    by_turn: dict[str, int] = {}
    turns = []
    for candidate in candidates:
        turn = by_turn[candidate.prompt.id] = by_turn.get(candidate.prompt.id, -1) + 1
        turns.append(turn)
    order = sorted(range(len(candidates)), key=lambda i: turns[i])
    return [candidates[i] for i in order[:num]]


def _toy_world(folder: Path, num: int, seed: int) -> list[Candidate]:
    """Make clips by the toy world's own command."""
    out = folder / "toyworld"
    command = [sys.executable, "-m", "worldcritic", "toyworld", "--out", str(out), "--num", str(num), "--seed"]
    done = subprocess.run(
        [*command, str(seed)], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise InputError(f"the toy world's clips could not be made: {done.stderr.strip()[-300:]}")
    return list(find_candidates(load_prompts(out / "prompts.json"), out / "videos").found)


def _synthetic(path: Path, model: RewardModel, axis: int) -> Clip:
    """Return a clip of a red square that moves to the right (0) or down (1)."""
    frames = np.full((_FRAMES, 64, 64, 3), 128, np.uint8)
    for t, frame in enumerate(frames):
        x, y = (3 * t, 24) if axis == 0 else (24, 3 * t)
        frame[y : y + 16, x : x + 16] = (220, 30, 30)
    write_video(path, frames, fps=8)
    return read_video(path, model.critic.sampling)
