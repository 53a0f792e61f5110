"""From candidates to score rows: decode ahead, judge in batches, one row per video whatever happens to it."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Any

from reward.candidates import Candidate
from reward.dimensions import NAMES
from reward.errors import CriticError, VideoError
from reward.files import sha256_file, sha256_json
from reward.prompts import Prompt
from reward.video import Clip, VideoReaders

if TYPE_CHECKING:
    from reward.model import Reward, RewardModel

Row = dict[str, Any]

SCORED = ("ok", "partial")
"""States of rows that have a reward; the others are "error", "missing" and "unanswered"."""


def score_candidates(
    model: "RewardModel", candidates: Sequence[Candidate], readers: VideoReaders, at_once: int = 8
) -> Iterator[Row]:
    """Yield one row per candidate, in order; so many clips at once are given to the critic.

    `status` is "ok"; "partial" where some answers do not count; "unanswered" where none does; "missing" for a file
    that is not there; "error" for one that cannot be decoded or judged. `error` says why.
    """
    exists = [candidate.path.exists() for candidate in candidates]
    here = [candidate for candidate, there in zip(candidates, exists, strict=True) if there]
    clips = readers.stream([candidate.path for candidate in here], model.critic.sampling)
    decoded = ((candidate, clip) for candidate, (_, clip) in zip(here, clips, strict=True))
    rows = _score_decoded(model, decoded, at_once)
    for candidate, there in zip(candidates, exists, strict=True):
        if there:
            yield next(rows)
        else:
            yield _failed(candidate, "missing", "the file does not exist", model)


def prompt_hash(prompt: Prompt) -> str:
    """Return a hash of everything that is asked about a prompt's videos."""
    return sha256_json([prompt.text, prompt.events, [asdict(check) for check in prompt.checks]])


def _score_decoded(
    model: "RewardModel", decoded: Iterable[tuple[Candidate, Clip | VideoError]], at_once: int
) -> Iterator[Row]:
    rest = iter(decoded)
    while batch := list(islice(rest, at_once)):
        good = [(candidate, clip) for candidate, clip in batch if isinstance(clip, Clip)]
        rewards = iter(_rewards(model, good))
        for candidate, clip in batch:
            outcome = clip if isinstance(clip, VideoError) else next(rewards)
            yield _row(candidate, outcome, model)


def _rewards(
    model: "RewardModel", batch: Sequence[tuple[Candidate, Clip]]
) -> list["Reward | VideoError | CriticError"]:
    """Score a batch; if it fails, score one by one, so that one clip does not take the others down."""
    try:
        return list(model.score([clip for _, clip in batch], [candidate.prompt for candidate, _ in batch]))
    except (VideoError, CriticError) as error:
        if len(batch) == 1:
            return [error]
        return [_rewards(model, [each])[0] for each in batch]


def _row(candidate: Candidate, outcome: "Reward | VideoError | CriticError", model: "RewardModel") -> Row:
    if isinstance(outcome, VideoError | CriticError):
        return _failed(candidate, "error", str(outcome), model)
    reward, prompt = outcome, candidate.prompt
    status = "unanswered" if math.isnan(reward.scalar) else "partial" if reward.unanswered else "ok"
    order = reward.order
    return {
        "prompt_id": prompt.id,
        "video": candidate.video,
        "sha256": sha256_file(candidate.path),
        "status": status,
        "error": "; ".join(reward.unanswered) or (None if status == "ok" else "the prompt asks nothing"),
        "reward": _number(reward.scalar),
        "reward_std": _number(reward.std),
        "dimensions": {name: _number(reward.dimensions[name]) for name in NAMES},
        "dimension_stds": {name: _number(reward.stds[name]) for name in NAMES},
        "questions": [
            {"dimension": check.dimension, "question": check.question, **asdict(answer)}
            for check, answer in zip(prompt.asked_checks, reward.answers, strict=True)
        ],
        "events": order and {
            "n": order.num_events,
            "expected_lcs": order.expected_lcs,
            "order": order.best,
            "order_probability": order.probabilities[order.best],
            "answer_mass": order.answer_mass,
        },
        "gates": reward.gates and {**asdict(reward.gates), "closed": list(reward.gates.closed)},
        "ungated_reward": _number(reward.ungated),
        "prompt_sha256": prompt_hash(prompt),
        "critic": model.identity,
    }  # fmt: skip


def _failed(candidate: Candidate, status: str, reason: str, model: "RewardModel") -> Row:
    return {
        "prompt_id": candidate.prompt.id,
        "video": candidate.video,
        "sha256": sha256_file(candidate.path) if candidate.path.is_file() else None,
        "status": status,
        "error": reason,
        "reward": None,
        "reward_std": None,
        "dimensions": dict.fromkeys(NAMES),
        "dimension_stds": dict.fromkeys(NAMES),
        "questions": [],
        "events": None,
        "gates": None,
        "ungated_reward": None,
        "prompt_sha256": prompt_hash(candidate.prompt),
        "critic": model.identity,
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def same_work(row: Mapping[str, Any], candidate: Candidate) -> bool:
    """Return whether a row answers the same questions on the same bytes as a candidate would."""
    if row.get("prompt_sha256") != prompt_hash(candidate.prompt):
        return False
    digest = sha256_file(candidate.path) if candidate.path.is_file() else None
    return bool(row.get("sha256") == digest)
