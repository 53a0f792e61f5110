"""Counterfactual evaluation: change a clip or its prompt, and see which dimensions' scores move, and should have.

No labels are needed. A critic that does not read its prompt, does not look at the video, or judges a motion by a single
frame shows here, however well it agrees with labels.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from reward.candidates import Candidate
from reward.dimensions import NAMES
from reward.errors import CriticError, InputError, VideoError
from reward.perturbations import EXPECTED, FROZEN, OTHER_PROMPT, OTHER_VIDEO, PERTURBATIONS, applies, other_prompts
from reward.prompts import Prompt
from reward.statistics import ratio_interval
from reward.tables import shown, text_table
from reward.video import Clip, VideoReaders

if TYPE_CHECKING:
    from reward.model import Reward, RewardModel

REWARD = "reward"
"""The whole reward before gates, in the tables below the ten dimensions."""
_MARKS = {"yes": "ok", "no": "NO", "unclear": "?", None: ""}
Scores = Mapping[str, float]


@dataclass
class Changes:
    """Scores as they are, and changes after each perturbation, by dimension: one value per clip, and its prompt."""

    as_is: list[tuple[str, Scores]] = field(default_factory=list)
    changes: dict[str, list[tuple[str, Scores]]] = field(default_factory=dict)
    gated: Counter[str] = field(default_factory=Counter)
    failed: list[dict[str, str]] = field(default_factory=list)

    def add(self, prompt: Prompt, as_is: "Reward", perturbed: Mapping[str, "Reward"]) -> None:
        """Note one clip; a change is NaN where one of both has no score, or nothing can be expected of the prompt."""
        before = scores_of(as_is)
        self.as_is.append((prompt.id, before))
        for name, reward in perturbed.items():
            after = scores_of(reward)
            change = {key: after[key] - before[key] if applies(name, key, prompt) else math.nan for key in after}
            self.changes.setdefault(name, []).append((prompt.id, change))
            self.gated[name] += bool(reward.gates and reward.gates.closed)


def scores_of(reward: "Reward") -> dict[str, float]:
    """Return the ten dimensions and the reward before gates."""
    return {**{name: reward.dimensions[name] for name in NAMES}, REWARD: reward.ungated}


def measure_changes(
    model: "RewardModel", candidates: Sequence[Candidate], readers: VideoReaders, seed: int
) -> Iterator[Changes]:
    """Score each candidate as it is and perturbed; yield the growing result after each video.

    The other video is the first one of the other prompt. A video that fails is listed in `failed` and left out. Raises
    InputError for candidates of a single prompt.
    """
    prompts = {candidate.prompt.id: candidate.prompt for candidate in candidates}
    if len(prompts) < 2:
        raise InputError("a counterfactual evaluation needs videos of two prompts or more, to put them side by side")
    others, generator, result = other_prompts(prompts), np.random.default_rng(seed), Changes()
    first = {candidate.prompt.id: candidate.path for candidate in reversed(candidates)}
    paths = [path for each in candidates for path in (each.path, first[others[each.prompt.id].id])]
    clips = (clip for _, clip in readers.stream(paths, model.critic.sampling))
    for candidate, clip, other_clip in zip(candidates, clips, clips, strict=True):
        try:
            if isinstance(clip, VideoError):
                raise clip
            variants = {name: perturb(clip, generator) for name, perturb in PERTURBATIONS.items()}
            asked = [(each, candidate.prompt) for each in (clip, *variants.values())]
            asked.append((clip, others[candidate.prompt.id]))
            if isinstance(other_clip, Clip):
                asked.append((other_clip, candidate.prompt))
            as_is, *rewards = model.score([each for each, _ in asked], [prompt for _, prompt in asked])
            names = (*variants, OTHER_PROMPT, OTHER_VIDEO)[: len(rewards)]
            result.add(candidate.prompt, as_is, dict(zip(names, rewards, strict=True)))
        except (VideoError, CriticError) as error:
            result.failed.append({"prompt_id": candidate.prompt.id, "video": candidate.video, "reason": str(error)})
        yield result


@dataclass(frozen=True)
class Judging:
    """How changes are judged: the `margin` below which a mean size of change is hardly any, and the bootstrap."""

    margin: float = 0.05
    resamples: int = 2000
    seed: int = 0


def report(changes: Changes, judging: Judging) -> dict[str, Any]:
    """Return means of scores and changes with intervals by prompt, and whether each expectation is met.

    A verdict is "yes", "no", or "unclear" where the interval does not tell. falls: the mean change is surely below 0
    and may reach -margin (no: it surely does not). moves, stays: the mean size of the change is surely above, or below,
    the margin. Raises InputError where no video could be scored.
    """
    if not changes.as_is:
        reasons = "; ".join(f"{each['video']}: {each['reason']}" for each in changes.failed[:3])
        raise InputError(f"no video could be scored: {reasons}")
    lines = {
        name: [_line(name, key, values, judging) for key in (*NAMES, REWARD)]
        for name, values in changes.changes.items()
    }
    return {
        "margin": judging.margin,
        "videos": len(changes.as_is),
        "prompts": len({prompt for prompt, _ in changes.as_is}),
        "failed": changes.failed,
        "as_is": {key: _mean([scores[key] for _, scores in changes.as_is]) for key in (*NAMES, REWARD)},
        "changes": lines,
        "gates_closed": {name: changes.gated[name] for name in lines},
        "depends_on_prompt": _depends(changes.changes.get(OTHER_PROMPT, []), judging),
        "depends_on_video": _depends(changes.changes.get(OTHER_VIDEO, []), judging),
    }


def _mean(values: Sequence[float]) -> float | None:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else None


def _line(name: str, key: str, values: Sequence[tuple[str, Scores]], judging: Judging) -> dict[str, Any]:
    known = [(prompt, scores[key]) for prompt, scores in values if not np.isnan(scores[key])]
    expected = EXPECTED[name].get(key)
    line: dict[str, Any] = {"dimension": key, "expected": expected, "n": len(known)}
    if not known:
        return {**line, "mean_change": None, "mean_size": None, "as_expected": None, "reason": "nothing to compare"}
    change = _interval(known, False, judging)
    size = _interval(known, True, judging)
    met = None if expected is None else _verdict(expected, change, size, judging.margin)
    return {**line, "mean_change": change, "mean_size": size, "as_expected": met}


def _interval(known: Sequence[tuple[str, float]], size: bool, judging: Judging) -> dict[str, Any]:
    values = np.array([abs(value) if size else value for _, value in known])
    _, place = np.unique([prompt for prompt, _ in known], return_inverse=True)
    sums, counts = np.bincount(place, values), np.bincount(place)
    interval = ratio_interval(sums, counts, judging.resamples, judging.seed)
    if interval.low is None and len(counts) > 1:
        return {"value": float(values.mean()), "low": float(values.mean()), "high": float(values.mean())}
    return {"value": float(values.mean()), **interval.to_json()}


def _verdict(expected: str, change: Mapping[str, Any], size: Mapping[str, Any], margin: float) -> str:
    low, high = (change["low"], change["high"]) if expected == "falls" else (size["low"], size["high"])
    if low is None:
        return "unclear"
    if expected == "falls":
        return "no" if low > -margin else "yes" if high < 0 else "unclear"
    above, below = ("yes", "no") if expected == "moves" else ("no", "yes")
    return above if low > margin else below if high < margin else "unclear"


def _depends(values: Sequence[tuple[str, Scores]], judging: Judging) -> dict[str, Any]:
    """Return whether dimensions' scores move at all, by their mean size of change over all dimensions of a clip."""
    sizes = [(prompt, _mean([abs(scores[key]) for key in NAMES])) for prompt, scores in values]
    known = [(prompt, size) for prompt, size in sizes if size is not None]
    if not known:
        return {"verdict": "unclear", "reason": "no two prompts ask about the same dimension"}
    size = _interval(known, True, judging)
    return {"verdict": _verdict("moves", size, size, judging.margin), "mean_size": size}


def report_text(found: Mapping[str, Any]) -> str:
    """Return the table for a person: mean changes where a fall or nothing is expected, else mean sizes of change."""
    names = list(found["changes"])
    rows = []
    for i, key in enumerate((*NAMES, REWARD)):
        cells = [_cell(found["changes"][name][i]) for name in names]
        rows.append([key, shown(found["as_is"][key]), *cells])
    videos, gated = found["videos"], found["gates_closed"].get(FROZEN, 0)
    lines = [
        text_table(["dimension", "as is", *names], rows),
        "",
        "+ and -: mean change; ±: mean size of change, where it should move or stay. ok and NO: as expected or not, ?: "
        "the interval does not tell",
        f"{videos} videos of {found['prompts']} prompts, {len(found['failed'])} failed; frozen clips that the gate "
        f"stops: {gated} of {videos}",
    ]
    for what, name in (("prompt", "depends_on_prompt"), ("video", "depends_on_video")):
        verdict, size = found[name]["verdict"], found[name].get("mean_size", {}).get("value")
        if verdict == "no":
            lines.append(f"WARNING: the critic ignores its {what}: another {what} changes its scores by {size:.3f}")
        else:
            lines.append(f"scores depend on the {what}: {verdict} (another {what} changes them by {shown(size)})")
    return "\n".join(lines)


def _cell(line: Mapping[str, Any]) -> str:
    if line["mean_change"] is None:
        return "-"
    sized = line["expected"] in ("moves", "stays")
    text = f"±{line['mean_size']['value']:.3f}" if sized else f"{line['mean_change']['value']:+.3f}"
    return f"{text} {_MARKS[line['as_expected']]:<2}"
