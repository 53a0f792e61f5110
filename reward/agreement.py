"""How far a critic agrees with labels: by dimension, event order, video, prompt and generator, each beside a baseline.

Raw agreement alone says little: in VideoVerse always giving a dimension's more frequent answer is right two times in
three. Balanced accuracy, kappa and AUROC do not pay for that.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from reward import metrics
from reward.dimensions import CHECK_NAMES
from reward.matching import ComparedCheck, ComparedOrder, ComparedVideo
from reward.statistics import statistic_interval

Array = npt.NDArray[np.float64]
ALL_CHECKS = "all checks"
_LEAST_VIDEOS, _LEAST_GENERATORS = 3, 3


def check_lines(checks: Sequence[ComparedCheck], threshold: float, resamples: int, seed: int) -> list[dict[str, Any]]:
    """Return a line for each dimension with labels and, last, for all: measures with intervals by prompt."""
    groups = {name: [check for check in checks if check.dimension == name] for name in CHECK_NAMES}
    groups[ALL_CHECKS] = list(checks)
    return [
        {"dimension": name, **_agreement(some, threshold, resamples, seed)} for name, some in groups.items() if some
    ]


def generator_lines(
    checks: Sequence[ComparedCheck], videos: Sequence[ComparedVideo], threshold: float, resamples: int, seed: int
) -> list[dict[str, Any]]:
    """Return a line for each generator: agreement on its checks, mean reward and mean label reward of its videos."""
    lines = []
    for name in sorted({video.generator for video in videos if video.generator}):
        some = [check for check in checks if check.generator == name]
        own = [video for video in videos if video.generator == name]
        line: dict[str, Any] = {"generator": name, "videos": len(own)}
        line |= {"reward": _mean([video.reward for video in own])}
        line |= {"label_reward": _mean([video.label_reward for video in own])}
        lines.append(line | (_agreement(some, threshold, resamples, seed) if some else {"n": 0}))
    return lines


def prompt_lines(
    checks: Sequence[ComparedCheck], videos: Sequence[ComparedVideo], threshold: float
) -> list[dict[str, Any]]:
    """Return a line for each prompt: how many checks are right, and Kendall's tau over its videos' rewards."""
    checks_of: dict[str, list[ComparedCheck]] = {video.prompt_id: [] for video in videos}
    videos_of: dict[str, list[ComparedVideo]] = {video.prompt_id: [] for video in videos}
    for check in checks:
        checks_of[check.prompt_id].append(check)
    for video in videos:
        videos_of[video.prompt_id].append(video)
    lines = []
    for name, own in videos_of.items():
        some = checks_of[name]
        right = [(check.p_yes >= threshold) == check.yes for check in some]
        tau = kendall(*_rewards(own)) if len(own) > 1 else float("nan")
        lines.append(
            {
                "prompt_id": name,
                "videos": len(own),
                "n": len(some),
                "accuracy": _mean([float(each) for each in right]),
                "kendall": None if np.isnan(tau) else tau,
            }
        )
    return lines


def video_line(videos: Sequence[ComparedVideo], resamples: int, seed: int) -> dict[str, Any]:
    """Return how rewards and label rewards go together: over all videos, within prompts, and over generators.

    Within prompts is the mean over prompts of the correlation over the prompt's candidates, where it is defined: what
    best of N lives on. Over generators it is the correlation of their means.
    """
    reward, label = _rewards(videos)
    prompts = np.array([video.prompt_id for video in videos], object)
    line: dict[str, Any] = {"n": len(videos), "prompts": len(set(prompts))}
    for name, correlation in CORRELATIONS.items():
        overall = _weighted(name, reward, label)
        line[name] = _measured(overall, prompts, resamples, seed, "fewer than 3 videos, or all alike")
        within = [
            correlation(reward[prompts == each], label[prompts == each]) for each in dict.fromkeys(prompts.tolist())
        ]
        known = np.array([each for each in within if not np.isnan(each)])
        line[f"{name}_within_prompts"] = _measured_mean(known, resamples, seed)
    generators = sorted({video.generator for video in videos if video.generator})
    line["generators"] = len(generators)
    if len(generators) >= _LEAST_GENERATORS:
        means = np.array([np.mean(_rewards([v for v in videos if v.generator == g]), axis=1) for g in generators])
        line["spearman_of_generators"] = _or_none(spearman(means[:, 0], means[:, 1]))
    return line


def order_line(orders: Sequence[ComparedOrder], resamples: int, seed: int) -> dict[str, Any] | None:
    """Return exact match of the event orders beside its baselines, and how the LCS shares go together."""
    if not orders:
        return None
    prompts = np.array([order.prompt_id for order in orders], object)
    exact = np.array([float(order.order == order.label_order) for order in orders])
    expected = np.array([order.expected_share for order in orders])
    label = np.array([order.label_share for order in orders])

    def mean(w: Array) -> float:
        return float(w @ exact / w.sum())

    def error(w: Array) -> float:
        return float(w @ np.abs(expected - label) / w.sum())

    line: dict[str, Any] = {
        "n": len(orders),
        "always_all_in_order": float(np.mean([order.label_share == 1 for order in orders])),
        "always_none": float(np.mean([order.label_order == "" for order in orders])),
        "exact_match": _measured(mean, prompts, resamples, seed, ""),
        "lcs_mean_absolute_error": _measured(error, prompts, resamples, seed, ""),
    }
    for name in ("pearson", *CORRELATIONS):
        weighted = _weighted(name, expected, label)
        line[f"lcs_{name}"] = _measured(weighted, prompts, resamples, seed, "fewer than 3 videos, or all alike")
    return line


def spearman(x: Array, y: Array) -> float:
    """Return Spearman's rank correlation, NaN with fewer than 3 values or where one side is constant."""
    from scipy import stats

    return float(stats.spearmanr(x, y).statistic) if _varied(x, y) else float("nan")


def kendall(x: Array, y: Array) -> float:
    """Return Kendall's tau-b, NaN with fewer than 2 values or where one side is constant."""
    from scipy import stats

    return float(stats.kendalltau(x, y).statistic) if _varied(x, y, 2) else float("nan")


CORRELATIONS: Mapping[str, Callable[[Array, Array], float]] = {"spearman": spearman, "kendall": kendall}


def weighted_pearson(x: Array, y: Array, w: Array) -> float:
    """Return Pearson's correlation of rows that count `w` (N,) times, NaN where one side is constant."""
    x, y = x - w @ x / w.sum(), y - w @ y / w.sum()
    scale = float((w @ x**2) * (w @ y**2))
    return float(w @ (x * y)) / scale**0.5 if scale > 1e-18 else float("nan")


def weighted_spearman(x: Array, y: Array, w: Array) -> float:
    """Return Spearman's rank correlation of rows that count `w` (N,) times: Pearson's of their mean ranks."""
    return weighted_pearson(_mean_ranks(x, w), _mean_ranks(y, w), w)


def _mean_ranks(x: Array, w: Array) -> Array:
    values, place = np.unique(x, return_inverse=True)
    mass = np.bincount(place, w, len(values))
    return np.asarray((np.cumsum(mass) - mass / 2)[place])


def _varied(x: Array, y: Array, least: int = _LEAST_VIDEOS) -> bool:
    return len(x) >= least and bool(np.ptp(x) > 1e-12 and np.ptp(y) > 1e-12)


def _agreement(checks: Sequence[ComparedCheck], threshold: float, resamples: int, seed: int) -> dict[str, Any]:
    p = np.array([check.p_yes for check in checks])
    y = np.array([float(check.yes) for check in checks])
    label_p = np.array([check.label_p for check in checks])
    prompts = np.array([check.prompt_id for check in checks], object)
    said = (p >= threshold).astype(float)
    line: dict[str, Any] = {"n": len(checks), "prompts": len(set(prompts)), "yes": int(y.sum())}
    line["majority"] = metrics.majority(p, y, np.ones(len(p)))
    measures: dict[str, Callable[[Array], float]] = {
        "accuracy": lambda w: metrics.accuracy(said, y, w),
        "balanced_accuracy": lambda w: metrics.balanced_accuracy(said, y, w),
        "kappa": lambda w: metrics.cohen_kappa(said, y, w),
        "auroc": lambda w: metrics.auroc(p, y, w),
    }
    if set(label_p) - {0.0, 1.0}:
        measures["spearman_p"] = lambda w: weighted_spearman(p, label_p, w)
    for name, measure in measures.items():
        line[name] = _measured(measure, prompts, resamples, seed, "only one kind of answer")
    return line


def _weighted(name: str, x: Array, y: Array) -> Callable[[Array], float]:
    """Return a correlation as a function of how often each row is drawn; NaN for fewer than 3 rows."""
    if len(x) < _LEAST_VIDEOS:
        return lambda w: float("nan")
    if name == "kendall":
        return lambda w: kendall(*(np.repeat(side, w.astype(int)) for side in (x, y)))
    correlation = weighted_pearson if name == "pearson" else weighted_spearman
    return lambda w: correlation(x, y, w)


def _measured(
    measure: Callable[[Array], float], prompts: npt.NDArray[Any], resamples: int, seed: int, reason: str
) -> dict[str, Any]:
    value = measure(np.ones(len(prompts)))
    if np.isnan(value):
        return {"value": None, "reason": reason}
    return {"value": value, "interval": statistic_interval(measure, prompts, resamples, seed).to_json()}


def _measured_mean(values: Array, resamples: int, seed: int) -> dict[str, Any]:
    if not len(values):
        return {"value": None, "reason": "no prompt with several videos whose labels differ", "prompts": 0}

    def mean(w: Array) -> float:
        return float(w @ values / w.sum())

    return {**_measured(mean, np.arange(len(values)), resamples, seed, ""), "prompts": len(values)}


def _rewards(videos: Sequence[ComparedVideo]) -> tuple[Array, Array]:
    return np.array([video.reward for video in videos]), np.array([video.label_reward for video in videos])


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value
