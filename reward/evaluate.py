"""Evaluate generators (VideoVerse's totals) or the critic itself (agreement, preferences, counterfactuals).

Totals: a table of the ten dimensions with 95% intervals (prompts resampled), VideoVerse's official total, and how much
of what was asked is answered at all. --results counts a result file (eval_res.json) as VideoVerse's own script does and
reads the same answers once more robustly; --scores with --prompts does it with the rows of `worldcritic score`,
thresholded (hard) and as expectations. The report is the official one, and ours under the further key "worldcritic".

Agreement: --scores with --labels compares the critic with a teacher, with --preferences with people.

Counterfactuals: --critic with --counterfactual, --prompts and --videos changes clips and prompts, and shows which
dimensions' scores move and which should have.
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
from reward.options import LoadOptions, Positive
from reward.prompts import load_prompts
from reward.scores import load_scores
from reward.videoverse import Record, load_results, write_official


@config
class Config(LoadOptions):
    """Options of `worldcritic evaluate`. Exactly one of --results, --scores and --counterfactual is given."""

    results: Path | None = None
    """VideoVerse result file (eval_res.json)."""
    scores: Path | None = None
    """Score file of `worldcritic score`; needs --prompts, or else --labels or --preferences."""
    labels: tuple[Path, ...] = ()
    """With --scores: label files of `worldcritic label`, or their folders, to compare the critic with."""
    teacher: str | None = None
    """With --labels of several teachers: whose labels to take."""
    preferences: Path | None = None
    """With --scores: JSON file of pairs that people compared."""
    tie_margin: Annotated[float, Field(ge=0)] = 0.0
    """With --preferences: rewards that differ by no more count as the same."""
    tie_preferences: Path | None = None
    """With --preferences: pairs of other prompts on which the tie margin is tuned instead."""
    counterfactual: bool = False
    """Perturb clips and prompts; needs --critic, --prompts and --videos."""
    critic: str | None = None
    """With --counterfactual: a critic's folder, a model on the hub, or a short name. With --labels: the scores' critic,
    so that labels of prompts and videos that it was trained on are left out (training.json in its folder)."""
    calibration: Path | None = None
    """With --counterfactual: a calibration.json of this critic, where it has no folder that holds it."""
    videos: Path | None = None
    """With --counterfactual: folder of videos, named after their prompts."""
    limit: Positive | None = None
    """With --counterfactual: only the first so many videos."""
    margin: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """With --counterfactual: a mean change of a score below this is hardly any."""
    workers: Positive = 2
    """With --counterfactual: processes that decode videos ahead of the critic."""
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
    if config.counterfactual or config.labels or config.preferences:
        from reward.evaluate_critic import evaluate_critic

        evaluate_critic(config)
        return 0
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
    if [config.results is None, config.scores is None, not config.counterfactual].count(False) != 1:
        raise InputError("give exactly one of --results (a result file), --scores (a score file) and --counterfactual")
    if config.scores and not (config.prompts or config.labels or config.preferences):
        raise InputError(
            "--scores needs --prompts, the prompt file that the videos were scored with, or --labels or --preferences"
        )
    _check_critic_options(config)
    if config.results and config.write_results:
        raise InputError("--write_results goes with --scores; --results already is a result file")
    if config.results and config.min_answer_mass is not None:
        raise InputError("--min_answer_mass goes with --scores; a result file holds no probabilities")
    if config.scores and config.lenient:
        raise InputError("--lenient goes with --results; a score file has no official reading")
    if config.format == "official" and not config.out:
        raise InputError("--format official needs --out, the report to write")


def _check_critic_options(config: Config) -> None:
    """Refuse options of evaluating a critic that do nothing here, and those of the totals that do nothing there."""
    compared = bool(config.labels or config.preferences)
    needs = {
        "--labels": (bool(config.labels), config.scores, "--scores"),
        "--preferences": (config.preferences, config.scores, "--scores"),
        "--teacher": (config.teacher, config.labels, "--labels"),
        "--tie_margin": (config.tie_margin, config.preferences, "--preferences"),
        "--tie_preferences": (config.tie_preferences, config.preferences, "--preferences"),
        "--critic": (config.critic, config.counterfactual or config.labels, "--counterfactual or --labels"),
        "--videos": (config.videos, config.counterfactual, "--counterfactual"),
        "--limit": (config.limit, config.counterfactual, "--counterfactual"),
    }
    for option, (given, other, name) in needs.items():
        if given and not other:
            raise InputError(f"{option} goes with {name}")
    if config.counterfactual and not (config.critic and config.prompts and config.videos):
        raise InputError("--counterfactual needs --critic, --prompts and --videos")
    if compared and config.prompts:
        raise InputError("--prompts goes with VideoVerse's totals; leave it out with --labels and --preferences")
    if (compared or config.counterfactual) and (config.write_results or config.format == "official" or config.lenient):
        raise InputError("--write_results, --format official and --lenient go with VideoVerse's totals")


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
