"""VideoVerse's official totals, from a result file or from a critic's scores, with what they leave unsaid.

Prints a table of the ten dimensions with 95% intervals (prompts resampled), the official total, and how much of what
was asked is answered at all. `--results` counts a result file (eval_res.json) as VideoVerse's own script does and
reads the same answers once more robustly; `--scores` does it with the rows of `worldcritic score`, thresholded (hard)
and as expectations. `--out` writes the report: the official one, and ours under the further key "worldcritic".
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from reward.config import config, save_run
from reward.errors import InputError
from reward.evaluation import Evaluation, Summary, summed_up
from reward.files import check_outputs
from reward.from_results import evaluate_results
from reward.from_scores import evaluate_scores, judge_rows, to_results
from reward.prompts import load_prompts
from reward.scores import load_scores
from reward.videoverse import Record, load_results, write_official


@config
class Config:
    """Options of `worldcritic evaluate`. Exactly one of --results and --scores is given."""

    results: Path | None = None
    """VideoVerse result file (eval_res.json)."""
    scores: Path | None = None
    """Score file of `worldcritic score`; needs --prompts."""
    prompts: Path | None = None
    """Prompt file that the videos were made from. With --results it shows which videos are missing."""
    out: Path | None = None
    """Report to write (JSON); without it only the table is printed."""
    format: Literal["full", "official"] = "full"
    """official: the report holds the two official keys only, byte for byte as VideoVerse's script writes it."""
    write_results: Path | None = None
    """With --scores: write the hard answers as a result file, for VideoVerse's own script."""
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    """With --scores: an answer is yes where p_yes is this or more."""
    min_answer_mass: Annotated[float, Field(ge=0, le=1)] | None = None
    """With --scores: least probability of any answer at which one counts, instead of the critic's own."""
    lenient: bool = False
    """With --results: count answers that the official script stops at (null, true, 1) as missing, and list them."""
    resamples: Annotated[int, Field(ge=1000, le=1_000_000)] = 2000
    """Bootstrap resamples of the prompts."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the bootstrap."""
    overwrite: bool = False
    """Replace outputs that exist."""


def main(config: Config) -> int:
    """Run the verb; what is missing from the totals is printed and in the report, and is no failure."""
    _check_options(config)
    given = {"results": config.results, "scores": config.scores, "prompts": config.prompts}
    inputs = {name: path for name, path in given.items() if path}
    outputs = [path for path in (config.out, config.write_results) if path]
    runs = [path.with_name(path.name + ".run.json") for path in outputs]
    check_outputs([*outputs, *runs], list(inputs.values()), config.overwrite)
    evaluation, records = _from_results(config, inputs) if config.results else _from_scores(config, inputs)
    if config.format == "official" and evaluation.official is None:
        raise InputError(f"--format official: {evaluation.no_official}")
    summary = summed_up(evaluation, config.resamples, config.seed)
    _write(config, summary, records, inputs)
    print(summary.to_text())
    for path in outputs:
        print(f"written: {path}", file=sys.stderr)
    return 0


def _check_options(config: Config) -> None:
    if (config.results is None) == (config.scores is None):
        raise InputError("give exactly one of --results (a result file) and --scores (a score file)")
    if config.scores and not config.prompts:
        raise InputError("--scores needs --prompts, the prompt file that the videos were scored with")
    if config.results and config.write_results:
        raise InputError("--write_results goes with --scores; --results already is a result file")
    if config.results and config.min_answer_mass is not None:
        raise InputError("--min_answer_mass goes with --scores; a result file holds no probabilities")
    if config.scores and config.lenient:
        raise InputError("--lenient goes with --results; a score file has no official reading")
    if config.format == "official" and not config.out:
        raise InputError("--format official needs --out, the report to write")


def _from_results(config: Config, inputs: Mapping[str, Path]) -> tuple[Evaluation, Mapping[str, Record]]:
    results = load_results(inputs["results"], config.lenient)
    prompts = load_prompts(inputs["prompts"]) if "prompts" in inputs else None
    return evaluate_results(results, prompts), results.records


def _from_scores(config: Config, inputs: Mapping[str, Path]) -> tuple[Evaluation, Mapping[str, Record]]:
    rows, prompts = load_scores(inputs["scores"]), load_prompts(inputs["prompts"])
    judged = judge_rows(rows, prompts, config.min_answer_mass)
    records = to_results(judged, config.threshold) if config.write_results else {}
    return evaluate_scores(rows, judged, prompts, config.threshold), records


def _write(config: Config, summary: Summary, records: Mapping[str, Record], inputs: Mapping[str, Path]) -> None:
    if config.out:
        official = summary.evaluation.official if config.format == "official" else None
        write_official(config.out, official or summary.to_json())
        save_run(config, config.out, inputs)
    if config.write_results:
        write_official(config.write_results, records)
        save_run(config, config.write_results, inputs)
