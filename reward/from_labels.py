"""Evaluate a critic's scores against labels and against people's preferences: report and tables."""

from collections.abc import Mapping, Sequence
from typing import Any

from reward.agreement import check_lines, generator_lines, order_line, prompt_lines, video_line
from reward.errors import InputError
from reward.labels import LabelRow
from reward.matching import match, one_teacher
from reward.preferences import Pair, best_margin, compare_pairs, preference_lines
from reward.scores import ScoreRow
from reward.tables import shown, text_table
from reward.training import TrainingRecord

_NAMES_SHOWN = 5
_CHECK_MEASURES = ("accuracy", "balanced_accuracy", "kappa", "auroc")


def agreement_report(
    labels: Sequence[LabelRow],
    scores: Sequence[ScoreRow],
    *,
    teacher: str | None,
    training: TrainingRecord | None,
    threshold: float,
    min_answer_mass: float | None,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Return how far scores agree with the labels of one teacher; InputError where nothing can be compared.

    Labels of prompts and videos that the critic was trained on are left out.
    """
    chosen = one_teacher(labels, teacher)
    fresh = [label for label in chosen if training is None or not training.has_seen(label.prompt_id, label.sha256)]
    matched = match(fresh, scores, min_answer_mass)
    if len(fresh) < len(chosen):
        matched.unmatched["the critic was trained on the prompt or the video"] = len(chosen) - len(fresh)
    if not matched.checks and not matched.orders:
        raise InputError(f"no label can be compared with a score: {_counted(matched.unmatched)}")
    checks, videos = matched.checks, matched.videos
    states: dict[str, int] = {}
    for label in labels:
        states[label.state] = states.get(label.state, 0) + 1
    return {
        "teacher": chosen[0].teacher_name,
        "threshold": threshold,
        "labels_by_state": states,
        "unmatched": dict(matched.unmatched),
        "checks": check_lines(checks, threshold, resamples, seed),
        "event_order": order_line(matched.orders, resamples, seed),
        "videos": video_line(videos, resamples, seed),
        "generators": generator_lines(checks, videos, threshold, resamples, seed),
        "prompts": prompt_lines(checks, videos, threshold),
    }


def agreement_text(report: Mapping[str, Any]) -> str:
    """Return the tables for a person."""
    blocks = [f"agreement with {report['teacher']}"]
    if report["checks"]:
        blocks.append(_check_table(report["checks"]))
    if report["event_order"]:
        blocks.append(_order_text(report["event_order"]))
    blocks.append(_video_text(report["videos"]))
    if report["generators"]:
        header = ["generator", "videos", "reward", "label reward", "n", "accuracy", "kappa", "AUROC"]
        rows = [
            [
                line["generator"],
                str(line["videos"]),
                shown(line["reward"]),
                shown(line["label_reward"]),
                str(line["n"]),
                *(_value(line.get(name)) for name in ("accuracy", "kappa", "auroc")),
            ]
            for line in report["generators"]
        ]
        blocks.append(text_table(header, rows))
    if report["unmatched"]:
        blocks.append(f"not compared: {_counted(report['unmatched'])}")
    return "\n\n".join(blocks)


def _check_table(lines: Sequence[Mapping[str, Any]]) -> str:
    header = ["dimension", "n", "majority"]
    for name in ("accuracy", "balanced", "kappa", "AUROC"):
        header += [name, "95% interval"]
    rows = []
    for line in lines:
        row = [line["dimension"], str(line["n"]), shown(line["majority"])]
        for name in _CHECK_MEASURES:
            row += [_value(line[name]), _interval(line[name])]
        rows.append(row)
    return text_table(header, rows)


def _order_text(line: Mapping[str, Any]) -> str:
    exact, error = line["exact_match"], line["lcs_mean_absolute_error"]
    return (
        f"event order ({line['n']} videos): exact {_value(exact)} {_interval(exact)}; always all in order "
        f"{shown(line['always_all_in_order'])}, always none {shown(line['always_none'])}\n"
        f"LCS share: Spearman {_value(line['lcs_spearman'])} {_interval(line['lcs_spearman'])}, Pearson "
        f"{_value(line['lcs_pearson'])}, mean absolute error {_value(error)}"
    )


def _video_text(line: Mapping[str, Any]) -> str:
    within = line["kendall_within_prompts"]
    text = (
        f"reward against label reward ({line['n']} videos): Spearman {_value(line['spearman'])} "
        f"{_interval(line['spearman'])}, Kendall {_value(line['kendall'])} {_interval(line['kendall'])}\n"
        f"within prompts: Kendall {_value(within)} {_interval(within)} ({within.get('prompts', 0)} prompts with "
        "several videos)"
    )
    if "spearman_of_generators" in line:
        text += f"; over {line['generators']} generators: Spearman {shown(line['spearman_of_generators'])}"
    return text


def preference_report(
    pairs: Sequence[Pair],
    scores: Sequence[ScoreRow],
    *,
    margin: float,
    tuning: Sequence[Pair] | None,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Return how often scores prefer what people prefer.

    The tie margin is `margin`, or the one that is best on the pairs `tuning`, which must be of other prompts
    (InputError).
    """
    compared, without = compare_pairs(pairs, scores)
    if not compared:
        raise InputError(f"no pair of the preferences has two rewards: {'; '.join(without[:_NAMES_SHOWN])}")
    source = "given"
    if tuning is not None:
        if shared := {pair.prompt_id for pair in tuning} & {pair.prompt_id for pair in pairs}:
            names = ", ".join(sorted(shared)[:_NAMES_SHOWN])
            raise InputError(f"the tie margin may not be tuned on prompts that are reported: {names}")
        known, missing = compare_pairs(tuning, scores)
        if not known:
            raise InputError(f"no pair to tune on has two rewards: {'; '.join(missing[:_NAMES_SHOWN])}")
        margin, source = best_margin(known), f"tuned on {len(known)} pairs of other prompts"
    return {
        "pairs": len(pairs),
        "compared": len(compared),
        "without_reward": without,
        "tie_margin": margin,
        "tie_margin_source": source,
        "aspects": preference_lines(compared, margin, resamples, seed),
    }


def preference_text(report: Mapping[str, Any]) -> str:
    """Return the table for a person."""
    header = ["aspect", "pairs", "ties", "without ties", "95% interval", "with ties", "95% interval", "always same"]
    rows = []
    for line in report["aspects"]:
        row = [line["aspect"], str(line["pairs"]), str(line["ties"])]
        for name in ("accuracy_without_ties", "accuracy_with_ties"):
            row += [_value(line[name]), _interval(line[name])]
        rows.append([*row, shown(line["always_same"])])
    lines = [
        f"human preferences: {report['compared']} of {report['pairs']} pairs have two rewards; tie margin "
        f"{report['tie_margin']:.4g} ({report['tie_margin_source']})",
        text_table(header, rows),
    ]
    if report["without_reward"]:
        more = ", ..." if len(report["without_reward"]) > _NAMES_SHOWN else ""
        lines.append(f"left out: {'; '.join(report['without_reward'][:_NAMES_SHOWN])}{more}")
    return "\n".join(lines)


def _counted(reasons: Mapping[str, int]) -> str:
    return "; ".join(f"{count} labels: {reason}" for reason, count in reasons.items())


def _value(cell: Mapping[str, Any] | None) -> str:
    return shown(cell["value"] if cell else None)


def _interval(cell: Mapping[str, Any]) -> str:
    interval = cell.get("interval") or {}
    low, high = interval.get("low"), interval.get("high")
    return "-" if low is None else f"[{low:.3f}, {high:.3f}]"
