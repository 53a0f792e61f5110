"""Make SFT data from teacher labels: train, validation and test rows that share no prompt and no video.

Writes train.jsonl, validation.jsonl and test.jsonl to --out, one question about one video a line. Only answers become
rows; refusals, unparsed texts and errors are counted. The training rows are balanced by dimension and answer; the
others stay as they are. --format adds a subfolder for another trainer. --labels may name several files or folders.
"""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from distill.balance import Balance, balance_rows
from distill.formats import Format, export_files, write_export
from distill.frozen import FOLDER, frozen_rows
from distill.mismatched import mismatched_rows
from distill.resolve import Resolved, Rule, resolve
from distill.rows import Row, write_rows
from distill.split import SPLITS, Split, check_disjoint, split_rows
from reward.config import config, save_run
from reward.dimensions import NAMES
from reward.errors import InputError
from reward.files import check_outputs, write_json
from reward.labels import FILE_NAME, LabelRow, load_labels
from reward.tables import text_table

SUMMARY = "summary.json"
Share = Annotated[float, Field(ge=0, lt=1)]


@config
class Config:
    """Options of `worldcritic dataset`."""

    labels: Annotated[tuple[Path, ...], Field(min_length=1)]
    """Label files of `worldcritic label`, or their folders. The order matters for --conflicts first."""
    out: Path
    """Folder for train.jsonl, validation.jsonl, test.jsonl and summary.json."""
    split_by: Literal["prompt", "generator"] = "prompt"
    """generator: the splits share no generator either; rows between the splits are left out."""
    validation: Share = 0.1
    """Share of the prompts (and generators) held out for choosing a checkpoint and for calibration."""
    test: Share = 0.1
    """Share held out for the last test."""
    conflicts: Rule = "drop"
    """What becomes of a question that labels disagree on: drop it, mean of p_yes (orders: most votes), or the first."""
    balance: Balance = "weights"
    """How training rows are balanced: weights, subsample (fewer rows of the more frequent answer), or none."""
    max_weight: Annotated[float, Field(ge=1)] = 5.0
    """With --balance weights: the most that a row's weight is multiplied by."""
    mismatched: Annotated[int, Field(ge=0)] = 0
    """Training rows a video that ask questions of another prompt about absent things, answered No unwatched."""
    mismatched_weight: Annotated[float, Field(gt=0, le=1)] = 0.3
    """Weight of such a row before balancing."""
    mismatched_p: Annotated[float, Field(ge=0, lt=0.5)] = 0.05
    """Soft target of such a row: how often Yes would be right all the same."""
    frozen: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the training videos of which a frozen copy is written, with what is certain of it, unwatched."""
    frozen_weight: Annotated[float, Field(gt=0, le=1)] = 0.3
    """Weight of a row about a frozen copy before balancing."""
    frozen_p: Annotated[float, Field(ge=0, lt=0.5)] = 0.05
    """Soft target of such a row: how often the other answer would be right all the same."""
    format: Format = "worldcritic"
    """Also write the rows for another trainer, into a subfolder of that name."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the hashes that choose splits, subsamples, mismatched questions and frozen videos."""
    overwrite: bool = False
    """Replace files that exist."""


def main(config: Config) -> int:
    """Write the splits, and print how many rows of which answer each holds."""
    shares = (1 - config.validation - config.test, config.validation, config.test)
    if shares[0] <= 0:
        raise InputError(
            f"--validation {config.validation:g} and --test {config.test:g} leave no prompt to train on; lower them"
        )
    inputs = {f"labels_{i}": _file(path) for i, path in enumerate(config.labels)}
    files = [config.out / f"{name}.jsonl" for name in SPLITS]
    run = config.out / "dataset"
    check_outputs(
        [*files, config.out / SUMMARY, run.with_name("dataset.run.json")], list(inputs.values()), config.overwrite
    )
    resolved = resolve(_read(inputs.values()), config.conflicts)
    if not resolved.rows:
        raise InputError("no label becomes a row: there is no answer, or all labels contradict each other")
    split = split_rows(resolved.rows, shares, config.seed, config.split_by == "generator")
    splits = {**split.rows, "train": _train(split.rows["train"], config)}
    check_disjoint(splits, config.split_by == "generator")
    check_outputs(export_files(config.out, config.format, splits), list(inputs.values()), config.overwrite)
    write_export(config.out, config.format, splits)
    for name, path in zip(SPLITS, files, strict=True):
        write_rows(path, splits[name])
    summary = _summary(resolved, split, splits)
    write_json(config.out / SUMMARY, summary)
    save_run(config, run, inputs, summary=summary)
    print(_table(splits))
    print("\n".join(_notes(summary)), file=sys.stderr)
    return 0


def _file(path: Path) -> Path:
    return path / FILE_NAME if path.is_dir() else path


def _read(paths: Any) -> list[LabelRow]:
    return [label for path in dict.fromkeys(paths) for label in load_labels(path)]


def _train(rows: Sequence[Row], config: Config) -> list[Row]:
    more: list[Row] = []
    if config.mismatched:
        more = mismatched_rows(rows, config.mismatched, config.mismatched_weight, config.mismatched_p, config.seed)
    if config.frozen:
        more += frozen_rows(
            rows, config.out / FOLDER,
            share=config.frozen, weight=config.frozen_weight, doubt=config.frozen_p, seed=config.seed,
        )  # fmt: skip
    return balance_rows([*rows, *more], config.balance, config.max_weight, config.seed)


def _summary(resolved: Resolved, split: Split, splits: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    return {
        "labels_by_state": dict(resolved.states),
        "questions_with_several_labels": resolved.several,
        "conflicts": resolved.conflicts,
        "conflicts_dropped": resolved.dropped,
        "rows_between_splits_left_out": split.crossing,
        "splits": {name: _counts(rows) for name, rows in splits.items()},
    }


def _counts(rows: Sequence[Row]) -> dict[str, Any]:
    return {
        "rows": len(rows),
        "prompts": len({row.prompt_key for row in rows}),
        "videos": len({row.content for row in rows}),
        "generators": len({row.generator for row in rows if row.generator}),
        "mismatched": sum(row.mismatched for row in rows),
        "frozen": sum(row.frozen for row in rows),
        "answers": {
            name: {
                "asked_for": sum(row.dimension == name and row.positive for row in rows),
                "other": sum(row.dimension == name and not row.positive for row in rows),
                "weight_asked_for": _mass(rows, name, True),
                "weight_other": _mass(rows, name, False),
            }
            for name in NAMES
        },
    }


def _mass(rows: Sequence[Row], dimension: str, positive: bool) -> float:
    return round(sum(row.weight for row in rows if (row.dimension, row.positive) == (dimension, positive)), 6)


def _table(splits: Mapping[str, Sequence[Row]]) -> str:
    """Return rows by dimension: asked-for answers and the others, and for training their weights."""
    header = ["dimension", "train yes", "no", "weight yes", "no", "validation yes", "no", "test yes", "no"]
    counts = {name: Counter((row.dimension, row.positive) for row in rows) for name, rows in splits.items()}
    lines = []
    for name in NAMES:
        train, *held_out = ([str(counts[each][name, answer]) for answer in (True, False)] for each in SPLITS)
        weights = [f"{_mass(splits['train'], name, answer):.1f}" for answer in (True, False)]
        lines.append([name, *train, *weights, *held_out[0], *held_out[1]])
    return text_table(header, lines)


def _notes(summary: Mapping[str, Any]) -> list[str]:
    splits, states = summary["splits"], summary["labels_by_state"]
    sizes = "; ".join(
        f"{name} {each['rows']} rows of {each['prompts']} prompts, {each['videos']} videos"
        for name, each in splits.items()
    )
    others = ", ".join(f"{count} {state}" for state, count in sorted(states.items()) if state != "answer")
    lines = [f"{sizes}", f"labels: {states.get('answer', 0)} answers" + (f"; no rows from {others}" if others else "")]
    if summary["questions_with_several_labels"]:
        lines.append(
            f"{summary['questions_with_several_labels']} questions have several labels; {summary['conflicts']} of them "
            f"disagree, {summary['conflicts_dropped']} dropped"
        )
    if summary["rows_between_splits_left_out"]:
        lines.append(
            f"{summary['rows_between_splits_left_out']} rows left out between the splits of prompts and generators"
        )
    if splits["train"]["mismatched"]:
        lines.append(f"{splits['train']['mismatched']} training rows are mismatched questions that nobody watched for")
    if splits["train"]["frozen"]:
        lines.append(f"{splits['train']['frozen']} training rows are about frozen copies that nobody watched")
    empty = [
        name
        for name, each in splits["train"]["answers"].items()
        if each["asked_for"] + each["other"] and not (each["asked_for"] and each["other"])
    ]
    if empty:
        lines.append(f"WARNING: only one answer to learn in {', '.join(empty)}")
    return lines
