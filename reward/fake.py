"""A critic for tests: no model, answers that are a function of prompt and pixels, the same every time."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from reward.answers import Answer, Judgement, Order, letters
from reward.model import RewardModel
from reward.options import LoadOptions
from reward.prompts import Prompt
from reward.video import Clip, FrameSampling


class FakeCritic:
    """Judges by `p_yes(clip, question)`, by default a hash of pixels and question.

    Events happen in the asked order with probability `p_yes(clip, "events")`, and not at all otherwise.
    """

    def __init__(self, p_yes: Callable[[Clip, str], float] | None = None, num_frames: int = 8) -> None:
        self.p_yes = p_yes or hashed
        self.num_frames = num_frames

    @property
    def identity(self) -> Mapping[str, Any]:
        """Says that this is no real critic."""
        return {"name": "fake", "trained": False, "manifest_sha256": None}

    @property
    def sampling(self) -> FrameSampling:
        """A few frames spread over the clip."""
        return FrameSampling(num_frames=self.num_frames)

    def judge(self, clips: Sequence[Clip], prompts: Sequence[Prompt]) -> list[Judgement]:
        """Judge each clip against the prompt beside it."""
        return [self._judge(clip, prompt) for clip, prompt in zip(clips, prompts, strict=True)]

    def _judge(self, clip: Clip, prompt: Prompt) -> Judgement:
        answers = tuple(Answer(self.p_yes(clip, check.question), 1.0) for check in prompt.asked_checks)
        if not prompt.events:
            return Judgement(answers)
        p = self.p_yes(clip, "events")
        return Judgement(answers, Order(len(prompt.events), {letters(len(prompt.events)): p, "": 1 - p}))


def hashed(clip: Clip, question: str) -> float:
    """Return a number in [0, 1) that depends on nothing but the pixels and the question."""
    digest = hashlib.sha256(clip.frames.tobytes() + question.encode()).digest()
    return int.from_bytes(digest[:6]) / 2**48


def load(options: LoadOptions) -> RewardModel:
    """Return a reward model around a FakeCritic: what `--critic fake` names."""
    return RewardModel(FakeCritic(num_frames=options.num_frames or 8))
