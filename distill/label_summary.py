"""What a labelling run gave, as a record and as a table for a person."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distill.journal import STATES, Spent
from reward.dimensions import NAMES
from reward.tables import text_table

NOT_ASKED = "not asked"


def summarise(rows: Sequence[Mapping[str, Any]], questions: int, spent: Spent, seconds: float) -> dict[str, Any]:
    """Count states, by dimension too, sources, model versions and costs; what has no row was not asked."""
    states = Counter(row["state"] for row in rows)
    if questions > len(rows):
        states[NOT_ASKED] = questions - len(rows)
    by_dimension = {
        name: dict(Counter(row["state"] for row in rows if row["dimension"] == name))
        for name in NAMES
        if any(row["dimension"] == name for row in rows)
    }
    versions = Counter(row["teacher"]["model_version"] for row in rows if row["state"] != "error")
    return {
        "questions": questions,
        "states": dict(states),
        "dimensions": by_dimension,
        "p_sources": dict(Counter(row["p_source"] for row in rows if row["p_source"])),
        "model_versions": {str(version): count for version, count in versions.items() if version},
        "calls": spent.calls,
        "input_tokens": spent.input_tokens,
        "output_tokens": spent.output_tokens,
        "dollars": spent.dollars,
        "seconds": round(seconds, 3),
    }


def show(summary: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], labels: Path) -> None:
    """Print the counts by dimension, the share of Yes among the checks, and the commonest reasons for no answer."""
    table = []
    for name, counts in summary["dimensions"].items():
        answered = [row for row in rows if row["dimension"] == name and row["p_yes"] is not None]
        yes = f"{sum(row['answer'] == 'yes' for row in answered) / len(answered):.2f}" if answered else "-"
        table.append([name, *(str(counts.get(state, 0)) for state in STATES), yes])
    print(text_table(["dimension", *STATES, "yes"], table), file=sys.stderr)
    total = ", ".join(f"{count} {state}" for state, count in summary["states"].items())
    cost = f", {summary['dollars']:.4f} dollars" if summary["dollars"] else ""
    print(f"{summary['questions']} questions: {total}{cost}", file=sys.stderr)
    if len(summary["model_versions"]) > 1:
        print(f"WARNING: several versions of the teacher answered: {summary['model_versions']}", file=sys.stderr)
    reasons = Counter(row["error"] for row in rows if row["state"] != "answer")
    for reason, count in reasons.most_common(3):
        print(f"  {count} x {reason}", file=sys.stderr)
    print(f"labels: {labels}", file=sys.stderr)
