"""What a calibration does to answers of prompts that it was not fitted on: numbers, a table and a picture."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reward import metrics
from reward.answers import Order
from reward.calibrator import Answers, Array, Calibrator, Orders, order_losses
from reward.dimensions import CHECK_NAMES, EVENT_FOLLOWING
from reward.files import write_atomic
from reward.statistics import statistic_interval
from reward.tables import shown, text_table

ALL_CHECKS = "all checks"
MEASURES: Mapping[str, Callable[[Array, Array, Array], float]] = {
    "ece_width": metrics.ece_width,
    "ece_mass": metrics.ece_mass,
    "brier": metrics.brier,
    "nll": metrics.nll,
    "auroc": metrics.auroc,
}
BEFORE, AFTER = "before", "after"


def table_lines(
    calibrator: Calibrator, answers: Answers, after: Array, resamples: int, seed: int
) -> list[dict[str, Any]]:
    """Return a line for each dimension that has answers, and last one for all: measures before and after.

    `after` (N,) are the cross-fitted probabilities. Intervals are by prompt.
    """
    lines = []
    for name in (*CHECK_NAMES, ALL_CHECKS):
        rows = np.ones(len(answers), bool) if name == ALL_CHECKS else answers.dimension == name
        if not rows.any():
            continue
        some, calibrated = answers.of(rows), after[rows]
        own = calibrator.map_name(name) if name != ALL_CHECKS else None
        lines.append(
            {
                "dimension": name,
                "n": len(some),
                "prompts": len(set(some.prompt)),
                "yes": int(some.y.sum()),
                "errors": some.errors,
                "map": own,
                "method": calibrator.methods_[own] if own else None,
                BEFORE: _measured(some.p, some, resamples, seed),
                AFTER: _measured(calibrated, some, resamples, seed),
                "nll_change": _change(some, calibrated, resamples, seed),
            }
        )
    return lines


def _measured(p: Array, answers: Answers, resamples: int, seed: int) -> dict[str, Any]:
    measured = {}
    for name, measure in MEASURES.items():
        value = measure(p, answers.y, np.ones(len(p)))

        def again(w: Array, measure: Callable[[Array, Array, Array], float] = measure) -> float:
            return measure(p, answers.y, w)

        interval = statistic_interval(again, answers.prompt, resamples, seed)
        measured[name] = _value(value, "only one kind of answer") | {"interval": interval.to_json()}
    return measured


def _value(value: float, reason: str) -> dict[str, Any]:
    return {"value": None, "reason": reason} if np.isnan(value) else {"value": value}


def _change(answers: Answers, after: Array, resamples: int, seed: int) -> dict[str, Any]:
    def change(w: Array) -> float:
        return metrics.nll(after, answers.y, w) - metrics.nll(answers.p, answers.y, w)

    interval = statistic_interval(change, answers.prompt, resamples, seed)
    return {"value": change(np.ones(len(after))), "interval": interval.to_json()}


def order_line(orders: Orders, after: Sequence[Order], resamples: int, seed: int) -> dict[str, Any] | None:
    """Return the same for the event orders: NLL, probability of the most probable order, how often it is right."""
    if not orders.predicted:
        return None
    line: dict[str, Any] = {"dimension": EVENT_FOLLOWING, "n": len(orders.predicted), "errors": orders.errors}
    for name, predicted in ((BEFORE, orders.predicted), (AFTER, after)):
        losses = order_losses(predicted, orders.truth)

        def mean(w: Array, losses: Array = losses) -> float:
            return float(w @ losses / w.sum())

        interval = statistic_interval(mean, np.array(orders.prompt), resamples, seed)
        best = [order.probabilities[order.best] / order.covered for order in predicted]
        line[name] = {
            "nll": {"value": float(losses.mean()), "interval": interval.to_json()},
            "probability_of_best": float(np.mean(best)),
            "best_is_right": 1 - orders.errors / len(orders.predicted),
        }
    return line


def table_text(lines: Sequence[Mapping[str, Any]], order: Mapping[str, Any] | None) -> str:
    """Return the table for a person."""
    header = ["dimension", "n", "errors", "map", "ECE", "after", "Brier", "after", "NLL", "after", "AUROC", "after"]
    rows = []
    for line in lines:
        cells = [
            shown(line[when][measure]["value"])
            for measure in ("ece_width", "brier", "nll", "auroc")
            for when in (BEFORE, AFTER)
        ]
        used = f"{line['map']} {line['method']}" if line["map"] else ""
        rows.append([line["dimension"], str(line["n"]), str(line["errors"]), used, *cells])
    if order is not None:
        nlls = [shown(order[when]["nll"]["value"]) for when in (BEFORE, AFTER)]
        cells = ["-", "-", "-", "-", *nlls, "-", "-"]
        rows.append([EVENT_FOLLOWING, str(order["n"]), str(order["errors"]), order.get("method") or "as it is", *cells])
    return text_table(header, rows)


def reliability_json(answers: Answers, after: Array, resamples: int, seed: int) -> dict[str, Any]:
    """Return the bins of the reliability diagrams, of equal width and of equal mass, with intervals by prompt."""
    ones = np.ones(len(answers))
    return {
        when: {
            kind: _bins(p, answers, bins, resamples, seed)
            for kind, bins in (("equal_width", metrics.width_bins(p)), ("equal_mass", metrics.mass_bins(p, ones)))
        }
        for when, p in ((BEFORE, answers.p), (AFTER, after))
    }


def _bins(p: Array, answers: Answers, bins: Any, resamples: int, seed: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for each in metrics.reliability(p, answers.y, np.ones(len(p)), bins):
        inside = bins == each["bin"]

        def share(w: Array, inside: Any = inside) -> float:
            total = w[inside].sum()
            return float((w * answers.y)[inside].sum() / total) if total else float("nan")

        interval = statistic_interval(share, answers.prompt, resamples, seed)
        found.append({**each, "share_interval": interval.to_json()})
    return found


def write_picture(path: Path, reliability: Mapping[str, Any], title: str) -> None:
    """Draw the reliability diagrams before and after, equal-width bins above and their counts below, as a PNG."""
    import io

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2, sharex=True, height_ratios=[4, 1])
    names = {BEFORE: "as the critic says it", AFTER: "calibrated, on prompts held out of the fit"}
    for column, (when, name) in enumerate(names.items()):
        _draw(axes[0][column], axes[1][column], reliability[when]["equal_width"], name)
    axes[0][0].set_ylabel("share of Yes among the labels")
    axes[1][0].set_ylabel("answers")
    figure.suptitle(title)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    write_atomic(path, buffer.getvalue())


def _draw(above: Any, below: Any, bins: Sequence[Mapping[str, Any]], name: str) -> None:
    above.plot([0, 1], [0, 1], color="0.7", linewidth=1, zorder=1)
    x, y = ([each[key] for each in bins] for key in ("mean_p", "share_yes"))
    above.plot(x, y, marker="o", color="tab:blue", linewidth=1, zorder=3)
    for each in bins:
        low, high = each["share_interval"]["low"], each["share_interval"]["high"]
        if low is not None:
            above.plot([each["mean_p"]] * 2, [low, high], color="tab:blue", alpha=0.5, linewidth=2, zorder=2)
    above.set(title=name, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    below.bar([each["bin"] / 10 + 0.05 for each in bins], [each["n"] for each in bins], width=0.09, color="tab:blue")
    below.set_xlabel("probability of Yes")
