"""A reward model as other projects call a reward: a plain function, TRL's, flow_grpo's.

Whatever cannot be judged (a damaged file, frames that are no numbers, a prompt without an answered question) has the
reward NaN, None in TRL, and a reason beside it; no number is made up for it. A wrong call (shapes, lengths, types)
raises InputError.

    reward = RewardFunction(RewardModel.from_pretrained("toyworld"), fps=8)
    rewards = reward(videos, prompts)                        # any loop: (B, T, H, W, 3) uint8, or paths
    GRPOTrainer(reward_funcs=trl_reward(reward, "video"), ...)
    scores, info = flow_grpo_reward(reward)(images, prompts, metadata)
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from reward.arrays import clip_from_frames, frames, uint8_videos
from reward.errors import InputError, VideoError
from reward.files import inside
from reward.one_by_one import score_or_why, why_missing
from reward.prompts import Prompt, with_generic_questions

if TYPE_CHECKING:
    from reward.model import Reward, RewardModel
    from reward.video import Clip


@dataclass(frozen=True)
class Outcome:
    """One video's reward, or the reason why there is none."""

    reward: "Reward | None"
    reason: str | None = None

    @property
    def scalar(self) -> float:
        """The reward in [0, 1], NaN where there is none."""
        return math.nan if self.reward is None else self.reward.scalar


class MissingRewardError(VideoError):
    """A video has no reward, and the caller asked for an error in that case."""


class RewardFunction:
    """`fn(videos, prompts) -> rewards` (B,) float64.

    `prompts` maps ids or texts to prompts with their own events and questions; a text that is none of them is asked
    about with generic questions. `fps` is that of frames in memory, which carry no time. `root` is the folder that
    paths are relative to and must stay in; without it any path is read. `missing` "raise" stops at the first video
    without a reward (MissingRewardError), for loops that cannot mask a NaN.
    """

    def __init__(
        self,
        model: "RewardModel",
        prompts: Mapping[str, Prompt] | None = None,
        *,
        fps: float = 16.0,
        root: str | Path | None = None,
        missing: Literal["nan", "raise"] = "nan",
    ) -> None:
        if not (fps > 0 and math.isfinite(fps)):
            raise InputError(f"fps of frames in memory is {fps}; give a number above 0")
        self.model, self.fps, self.missing = model, fps, missing
        self.root = None if root is None else Path(root)
        self.known = {**{each.text: each for each in (prompts or {}).values()}, **(prompts or {})}

    def __call__(self, videos: Any, prompts: Sequence[Prompt | str]) -> npt.NDArray[np.float64]:
        """Return the rewards (B,), NaN where there is none; `judge` also says why."""
        return np.array([outcome.scalar for outcome in self.judge(videos, prompts)], float)

    def judge(self, videos: Any, prompts: Sequence[Prompt | str]) -> list[Outcome]:
        """Return the full outcome of each video for the prompt beside it.

        `videos` is one uint8 array or tensor (B, T, H, W, 3), or a sequence of such (T, H, W, 3), of paths, or of
        clips. Raises InputError for another shape, type or number than there are prompts.
        """
        if len(videos) != len(prompts):
            raise InputError(f"{len(videos)} videos for {len(prompts)} prompts; give one prompt for each video")
        asked = [self.prompt(each) for each in prompts]
        clips = [self._clip(video, f"video {i}") for i, video in enumerate(videos)]
        good = [i for i, clip in enumerate(clips) if not isinstance(clip, str)]
        judged = _score(self.model, [clips[i] for i in good], [asked[i] for i in good])  # type: ignore[misc]
        outcomes = [Outcome(None, clip if isinstance(clip, str) else None) for clip in clips]
        for i, outcome in zip(good, judged, strict=True):
            outcomes[i] = outcome
        self.refuse_missing(outcomes)
        return outcomes

    def prompt(self, given: Prompt | str) -> Prompt:
        """Return a known prompt by id or text, or one with generic questions about the text."""
        if isinstance(given, Prompt):
            return given
        if not isinstance(given, str) or not given.strip():
            raise InputError(f"a prompt is a text or a Prompt, got {given!r:.80}")
        return self.known.get(given) or with_generic_questions("prompt", given)

    def _clip(self, video: Any, where: str) -> "Clip | str":
        """Return the clip that the critic takes, or why there is none."""
        from reward.video import Clip, read_video

        if isinstance(video, Clip):
            return video
        if not isinstance(video, str | Path):
            return clip_from_frames(frames(video, where), self.fps, self.model.critic.sampling)
        path = Path(video) if self.root is None else inside(self.root, str(video), where)
        if not path.is_file():
            return f"video {path} does not exist"
        try:
            return read_video(path, self.model.critic.sampling)
        except VideoError as error:
            return str(error)

    def refuse_missing(self, outcomes: Sequence[Outcome]) -> None:
        """Raise MissingRewardError for the first outcome without a reward, if `missing` asks for that."""
        if self.missing == "raise":
            for i, outcome in enumerate(outcomes):
                if outcome.reason is not None:
                    raise MissingRewardError(f"video {i} has no reward: {outcome.reason}")


def trl_reward(
    reward: RewardFunction,
    videos: str | Callable[[list[str]], Any],
    *,
    prompt_column: str | None = None,
) -> Callable[..., list[float | None]]:
    """Return a reward function for TRL's GRPOTrainer and RLOOTrainer (checked against trl 1.16).

    TRL trains language models, so the video comes from elsewhere: `videos` names a dataset column of paths or frames,
    or is called with the completions' texts and returns a video for each, as where a model learns to write prompts
    for a generator. The video is judged against the text in `prompt_column`, by default the prompt (of a conversation
    its last user message). None marks what has no reward: TRL takes it out of the group's mean and gives it advantage
    0. Reasons go to the completions table as `worldcritic_reason`, dimension means to the metrics.
    """

    def worldcritic(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        texts = [_text(each, "user") for each in prompts] if prompt_column is None else _column(columns, prompt_column)
        if callable(videos):
            made = videos([_text(each, "assistant") for each in completions])
        else:
            made = _column(columns, videos)
        outcomes = reward.judge(made, texts)
        _log(outcomes, columns.get("log_extra"), columns.get("log_metric"))
        return [None if math.isnan(outcome.scalar) else outcome.scalar for outcome in outcomes]

    return worldcritic


def flow_grpo_reward(
    reward: RewardFunction,
) -> Callable[[Any, Sequence[str], Any], tuple[npt.NDArray[np.float64], dict[str, Any]]]:
    """Return flow_grpo's `fn(images, prompts, metadata) -> (scores, info)` for videos.

    `images` is what its pipelines give: a float tensor or array (B, T, C, H, W) in [0, 1], or uint8 (B, T, H, W, C).
    `metadata` may hold for each video a "prompt_id" that the reward function knows; else the prompt's text counts.
    `info` holds "reasons" (B,), None where there is a reward, and "dimensions", name to (B,).
    flow_grpo masks nothing: a NaN spreads to its whole group, so give RewardFunction(..., missing="raise") there.
    """

    def score(images: Any, prompts: Sequence[str], metadata: Any) -> tuple[npt.NDArray[np.float64], dict[str, Any]]:
        made, numbers = uint8_videos(images)
        asked = [_prompt_id(metadata, i, reward.known) or text for i, text in enumerate(prompts)]
        outcomes = [
            outcome if number else Outcome(None, "the frames hold values that are no finite numbers")
            for outcome, number in zip(reward.judge(list(made), asked), numbers, strict=True)
        ]
        reward.refuse_missing(outcomes)
        names = dict.fromkeys(name for each in outcomes if each.reward for name in each.reward.dimensions)
        by_name = {
            name: np.array([each.reward.dimensions[name] if each.reward else math.nan for each in outcomes])
            for name in names
        }
        scores = np.array([outcome.scalar for outcome in outcomes], float)
        return scores, {"reasons": [outcome.reason for outcome in outcomes], "dimensions": by_name}

    return score


def _score(model: "RewardModel", clips: "Sequence[Clip]", prompts: Sequence[Prompt]) -> list[Outcome]:
    found = score_or_why(model, clips, prompts)
    return [Outcome(None if isinstance(each, str) else each, why_missing(each)) for each in found]


def _prompt_id(metadata: Any, i: int, known: Mapping[str, Prompt]) -> str | None:
    """Return the id that a video's metadata names, None if it names none; InputError for one that is not known."""
    record = metadata[i] if isinstance(metadata, Sequence) and i < len(metadata) else None
    identifier = record.get("prompt_id") if isinstance(record, Mapping) else None
    if identifier is not None and identifier not in known:
        raise InputError(f"metadata {i}: prompt id {identifier!r} is not among the reward function's prompts")
    return identifier


def _column(columns: Mapping[str, Any], name: str) -> Any:
    if name not in columns:
        raise InputError(f"the dataset has no column {name!r}; its columns are {', '.join(sorted(columns))}")
    return columns[name]


def _text(message: Any, role: str) -> str:
    """Return a text, or a conversation's last message of a role."""
    if isinstance(message, str):
        return message
    for each in reversed(message):
        if each["role"] == role:
            content = each["content"]
            parts = [content] if isinstance(content, str) else [part.get("text", "") for part in content]
            return "".join(parts)
    raise InputError(f"a conversation without a message of role {role!r} cannot be judged")


def _log(outcomes: Sequence[Outcome], log_extra: Any, log_metric: Any) -> None:
    """Hand TRL the reasons, a column of its table, and the means that it logs beside its own metrics."""
    if log_extra is not None:
        log_extra("worldcritic_reason", [outcome.reason or "" for outcome in outcomes])
    if log_metric is not None:
        log_metric("worldcritic/missing", float(np.mean([outcome.reason is not None for outcome in outcomes])))
        rewards = [outcome.reward for outcome in outcomes if outcome.reward is not None]
        for name in rewards[0].dimensions if rewards else ():
            known = [each.dimensions[name] for each in rewards if math.isfinite(each.dimensions[name])]
            if known:
                log_metric(f"worldcritic/{name}", float(np.mean(known)))
