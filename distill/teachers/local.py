"""A critic on this machine as a teacher: every question of a video behind one shared prefix."""

import asyncio
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from distill.teachers.media import frame_rate
from distill.teachers.options import TeacherOptions
from reward.answers import Answer, Order
from reward.errors import InputError
from reward.model import RewardModel
from reward.options import LoadOptions
from reward.prompts import Check, Prompt
from reward.teacher import LocalTeacher, Question, Reply, Seen, Video
from reward.video import VideoReaders
from reward.wording import WORDING_HASH


class LocalCritic(LocalTeacher):
    """A reward model's answers, calibrated if it is; answers with too little probability mass are unparsed."""

    def __init__(self, name: str, options: TeacherOptions, readers: VideoReaders) -> None:
        if not name:
            raise InputError(
                "--teacher local needs a critic: --teacher local:toyworld, or a folder or model on the hub"
            )
        wanted = {field.name: getattr(options, field.name) for field in dataclasses.fields(LoadOptions)}
        self._model = RewardModel.from_pretrained(name, LoadOptions(**wanted))
        self._readers = readers
        self._one_at_a_time = asyncio.Lock()
        if not self._model.identity["trained"]:
            print(f"WARNING: critic {name!r} was never trained: its labels mean nothing", file=sys.stderr)

    @property
    def identity(self) -> Mapping[str, Any]:
        """What the critic's answers depend on, its calibration included."""
        model = self._model
        shown = {"num_frames": model.critic.sampling.num_frames, "video_fps": model.critic.sampling.fps}
        return {
            **model.critic.identity,
            "name": f"local:{model.critic.identity['name']}",
            **shown,
            "calibration": dataclasses.asdict(model.calibration) if model.calibration.maps else None,
            "min_answer_mass": model.min_answer_mass,
            "wording": WORDING_HASH,
        }

    async def prepare(self, video: Video) -> Seen:
        """Decode the frames that the critic looks at."""
        clip = await asyncio.to_thread(self._readers.read, video.path, self._model.critic.sampling)
        return Seen(video, clip, len(clip.frames), frame_rate(clip))

    async def label(self, seen: Seen, prompt: Prompt, questions: Sequence[Question]) -> list[Reply]:
        """Judge all questions in one pass of the model."""
        asked = dataclasses.replace(
            prompt,
            checks=tuple(Check(each.dimension, each.text) for each in questions if each.kind == "check"),
            events=next((each.events for each in questions if each.kind == "order"), ()),
        )
        async with self._one_at_a_time:
            reward = await asyncio.to_thread(self._judge, seen.media, asked)
        answers, order = iter(reward.answers), reward.order
        return [self._check(next(answers)) if each.kind == "check" else self._order(order) for each in questions]

    def _judge(self, clip: Any, prompt: Prompt) -> Any:
        return self._model.reward(prompt, self._model.critic.judge([clip], [prompt])[0])

    def _check(self, answer: Answer) -> Reply:
        if reason := self._too_little(answer.answer_mass):
            return Reply("unparsed", answer_mass=answer.answer_mass, reason=reason)
        said = "yes" if answer.p_yes >= 0.5 else "no"
        return Reply("answer", said, answer.p_yes, "logprobs", answer.answer_mass)

    def _order(self, order: Order) -> Reply:
        if reason := self._too_little(order.answer_mass):
            return Reply("unparsed", answer_mass=order.answer_mass, reason=reason)
        return Reply("answer", order.best, p_source="logprobs", answer_mass=order.answer_mass)

    def _too_little(self, mass: float) -> str | None:
        least = self._model.min_answer_mass
        return f"answer mass {mass:.2g} is below {least:g}" if mass < least else None
