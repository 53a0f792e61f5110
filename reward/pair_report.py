"""The audit of a set of pairs: how many and why not more, how well separated, what the chosen videos are better in."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from reward.dimensions import NAMES
from reward.found_pairs import Found, prompt_ids
from reward.preference_pairs import PreferencePair
from reward.statistics import ratio_interval
from reward.tables import shown, text_table

_QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


def pair_report(found: Found, seed: int = 0) -> dict[str, Any]:
    """Return the audit as JSON; gains and motion are chosen minus rejected, intervals by prompt."""
    pairs = found.pairs
    uses = np.unique([side.sha256 for pair in pairs for side in (pair.chosen, pair.rejected)], return_counts=True)[1]
    return {
        "pairs": len(pairs),
        "ties": len(found.ties),
        "prompts_with_pairs": len(prompt_ids(pairs)),
        "compared": found.num_compared,
        "rejected": dict(found.rejected.most_common()),
        "distinct_videos": len(uses),
        "most_pairs_of_a_video": int(uses.max()) if len(uses) else 0,
        "probability": _spread([pair.probability for pair in pairs]),
        "margin": _spread([pair.margin for pair in pairs]),
        "gains": {name: _gain(pairs, [_difference(pair, name) for pair in pairs], seed) for name in NAMES},
        "motion": _gain(pairs, [pair.chosen.motion - pair.rejected.motion for pair in pairs], seed),
        **found.facts,
    }


def _difference(pair: PreferencePair, name: str) -> float:
    return pair.chosen.scores.get(name, math.nan) - pair.rejected.scores.get(name, math.nan)


def _spread(values: Sequence[float]) -> dict[str, float] | None:
    """Return mean and quantiles of the values that there are."""
    known = np.array([value for value in values if math.isfinite(value)])
    if not len(known):
        return None
    quantiles = {f"{q:g}": float(value) for q, value in zip(_QUANTILES, np.quantile(known, _QUANTILES), strict=True)}
    return {"mean": float(known.mean()), **quantiles}


def _gain(pairs: Sequence[PreferencePair], differences: Sequence[float], seed: int) -> dict[str, Any] | None:
    """Return the mean of differences with its interval and the share of those below 0; None where there is none."""
    totals: dict[str, tuple[float, int]] = {}
    for pair, value in zip(pairs, differences, strict=True):
        if math.isfinite(value):
            total, count = totals.get(pair.prompt_id, (0.0, 0))
            totals[pair.prompt_id] = total + value, count + 1
    if not totals:
        return None
    known = [value for value in differences if math.isfinite(value)]
    sums, counts = (np.array(column, float) for column in zip(*totals.values(), strict=True))
    return {
        "pairs": len(known),
        "mean": float(np.mean(known)),
        "interval": ratio_interval(sums, counts, seed=seed).to_json(),
        "worse": float(np.mean([value < 0 for value in known])),
    }


def report_table(report: dict[str, Any]) -> str:
    """Return the audit for a person: separation, gains by dimension, and why pairs were not taken."""
    blocks = []
    spreads = [(name, report[name]) for name in ("probability", "margin") if report[name]]
    if spreads:
        header = ["", "mean", "least", "10%", "median", "90%", "most"]
        columns = ("mean", "0", "0.1", "0.5", "0.9", "1")
        blocks.append(text_table(header, [[name, *(shown(each[key]) for key in columns)] for name, each in spreads]))
    gains = {**report["gains"], "motion (levels of 255)": report["motion"]}
    rows = [
        [name, str(each["pairs"]), shown(each["mean"], sign=True), _interval(each["interval"]), shown(each["worse"])]
        for name, each in gains.items()
        if each
    ]
    if rows:
        blocks.append(text_table(["chosen over rejected", "pairs", "gain", "95% interval", "share worse"], rows))
    if report["rejected"]:
        reasons = [[reason, str(count)] for reason, count in report["rejected"].items()]
        blocks.append(text_table(["not taken", "pairs"], reasons))
    return "\n\n".join(blocks)


def _interval(interval: dict[str, Any]) -> str:
    return "-" if interval["low"] is None else f"[{interval['low']:+.3f}, {interval['high']:+.3f}]"
