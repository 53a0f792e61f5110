"""The oracle in a critic's place, `--critic oracle`: a judge of toy world clips that learned nothing.

To measure a generator that was trained on some critic's rewards. Its answers are 0 or 1; what it cannot measure
carries no answer mass and does not count.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reward.answers import Answer, Judgement, Order
from reward.errors import InputError
from reward.model import RewardModel
from reward.options import LoadOptions
from reward.prompts import Prompt
from reward.video import FrameSampling
from toyworld.measure import measure
from toyworld.oracle import Verdict, judge, set_stage
from toyworld.questions import asked_colours
from toyworld.world import World

if TYPE_CHECKING:
    from reward.video import Clip

MIN_ANSWER_MASS = 0.5


class OracleCritic:
    """Judges clips of the toy world by measuring their pixels."""

    identity: Mapping[str, Any] = {"name": "oracle", "trained": True, "manifest_sha256": None}

    @property
    def sampling(self) -> FrameSampling:
        """Every frame of the world's clips, which have eight a second."""
        return FrameSampling(num_frames=None, fps=World().fps)

    def judge(self, clips: Sequence["Clip"], prompts: Sequence[Prompt]) -> list[Judgement]:
        """Judge each clip against the prompt beside it; a clip too short or small to measure answers nothing."""
        return [_judge(clip, prompt) for clip, prompt in zip(clips, prompts, strict=True)]


def load(options: LoadOptions) -> RewardModel:
    """Return a reward model around the oracle: what `--critic oracle` names."""
    return RewardModel(OracleCritic(), min_answer_mass=MIN_ANSWER_MASS)


def present(clip: "Clip", prompt: Prompt) -> float:
    """Return the share of the prompt's things that are seen in a clip: what `--detector oracle` names.

    A thing in another colour than the asked one is there. NaN where the prompt names nothing that could be looked for,
    or the clip is too short or small to measure.
    """
    try:
        stage = set_stage(prompt.text, measure(clip.frames, clip.timestamps))
    except InputError:
        return math.nan
    asked = [noun for noun in asked_colours(prompt.text) if noun not in stage.unclear]
    return sum(noun not in stage.absent for noun in asked) / len(asked) if asked else math.nan


def _judge(clip: "Clip", prompt: Prompt) -> Judgement:
    asked = Prompt(prompt.id, prompt.text, prompt.events, prompt.asked_checks)
    nothing = Answer(math.nan, 0.0)
    try:
        verdict = judge(asked, clip.frames, clip.timestamps)
    except InputError:
        return Judgement((nothing,) * len(asked.checks), _order(prompt, None))
    answers = tuple(nothing if math.isnan(each.yes) else Answer(float(each.yes), 1.0) for each in verdict.answers)
    return Judgement(answers, _order(prompt, verdict))


def _order(prompt: Prompt, verdict: Verdict | None) -> Order | None:
    if not prompt.events:
        return None
    if verdict is None or verdict.order is None:
        return Order(len(prompt.events), {"": 1.0}, answer_mass=0.0)
    return Order(len(prompt.events), {verdict.order: 1.0})
