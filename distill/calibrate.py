"""Calibrate a critic on labelled videos of prompts that it was not trained on.

Fits a temperature, Platt or isotonic map from the critic's p_yes to the share of Yes among the labels: one for all
dimensions, own ones where there are errors enough, and a temperature for event orders. --out gets calibration.json,
report.json with ECE, Brier, NLL and AUROC before and after (on prompts held out of the fit, intervals by prompt), and
reliability.png. The calibration also goes into the critic's folder, where `worldcritic score` finds it. --scores takes
the answers from raw score rows instead of asking the critic; event orders are then left as they are.
"""

import dataclasses
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pydantic

from distill.resolve import Resolved, Rule, resolve
from distill.rows import load_rows
from reward.calibrator import Calibrator, Method, cross_fitted, cross_fitted_orders
from reward.config import config, save_run
from reward.dimensions import EVENT_FOLLOWING
from reward.errors import InputError
from reward.files import check_outputs, sha256_file, write_json
from reward.labels import FILE_NAME, load_labels
from reward.options import LoadOptions, Positive
from reward.scores import ScoreRow, load_scores

if TYPE_CHECKING:
    from distill.held_out import HeldOut

REPORT, PICTURE = "report.json", "reliability.png"
_SHOWN = 5


@config
class Config(LoadOptions):
    """Options of `worldcritic calibrate`."""

    critic: str | None = None
    """A critic's folder, a model on the hub, or a short name. With --scores: the folder to put the calibration into."""
    labels: tuple[Path, ...] = ()
    """Label files of `worldcritic label`, or their folders: prompts that the critic was not trained on."""
    rows: tuple[Path, ...] = ()
    """Instead of labels: SFT rows of `worldcritic dataset` held out of the training, such as validation.jsonl."""
    scores: Path | None = None
    """Score rows of the uncalibrated critic for the same videos, instead of asking it again."""
    out: Path
    """Folder for calibration.json, report.json and reliability.png."""
    method: Method = "auto"
    """Kind of map; auto takes the one with the least negative log-likelihood on held-out prompts."""
    min_errors: Positive = 30
    """Wrong answers from which on a dimension, or event order, gets a map of its own."""
    folds: Annotated[int, pydantic.Field(ge=2)] = 5
    """Parts into which the prompts are cut for held-out figures."""
    orders: bool = True
    """Fit a temperature for event orders."""
    conflicts: Rule = "drop"
    """What becomes of a question that labels disagree on: drop it, mean of p_yes (orders: most votes), or the first."""
    install: bool = True
    """Put the calibration into the critic's folder too."""
    min_answer_mass: Annotated[float, pydantic.Field(ge=0, le=1)] | None = None
    """Least probability of Yes and No together at which an answer counts, instead of the critic's own."""
    resamples: Annotated[int, pydantic.Field(ge=200, le=100_000)] = 1000
    """Bootstrap resamples of the prompts."""
    seed: Annotated[int, pydantic.Field(ge=0)] = 0
    """Seed of folds and bootstrap."""
    workers: Positive = 2
    """Processes that decode videos ahead of the critic."""
    decode_seconds: Annotated[float, pydantic.Field(gt=0)] = 60.0
    """A video that takes longer to decode is given up."""
    overwrite: bool = False
    """Replace files that exist, the critic's earlier calibration among them."""


@dataclass(frozen=True)
class _Subject:
    """The critic that is calibrated: what names it, where it lies, why its folder cannot take a calibration."""

    identity: Mapping[str, Any]
    least_mass: float
    folder: Path | None
    not_installed: str | None
    model: Any = None
    scores: tuple[ScoreRow, ...] = ()


def main(config: Config) -> int:
    """Fit, measure and save."""
    from distill.held_out import ask_critic, from_scores
    from reward.calibration import FILE_NAME as CALIBRATION
    from reward.video import VideoReaders

    _check_options(config)
    inputs = {f"labels_{i}": _file(path) for i, path in enumerate(config.labels)}
    inputs |= {f"rows_{i}": path for i, path in enumerate(config.rows)}
    if config.scores:
        inputs["scores"] = config.scores
    outputs = [config.out / name for name in (CALIBRATION, REPORT, PICTURE, f"{REPORT}.run.json")]
    check_outputs(outputs, list(inputs.values()), config.overwrite)
    resolved = _resolved(config)
    subject = _from_scores(config) if config.scores else _loaded(config)
    installed = _installed_path(subject, config)
    if installed:
        check_outputs([installed], [], config.overwrite)
    _refuse_trained(subject, resolved)
    if subject.model is None:
        held_out = from_scores(resolved.rows, subject.scores, subject.least_mass)
    else:
        with VideoReaders(config.workers, config.decode_seconds) as readers:
            at_once = max(config.batch_size or 0, 8)
            held_out = ask_critic(subject.model.critic, resolved.rows, readers, subject.least_mass, at_once)
    if not len(held_out.answers):
        raise InputError(f"no labelled check has an answer of the critic: {_counts(held_out.unanswered)}")
    _finish(config, subject, resolved, held_out, inputs)
    return 0


def _resolved(config: Config) -> Resolved:
    """Return the questions to calibrate on; what nobody watched for, mismatched or frozen, is not."""
    if config.labels:
        resolved = resolve([label for path in config.labels for label in load_labels(path)], config.conflicts)
    else:
        rows = [row for path in config.rows for row in load_rows(path) if not (row.mismatched or row.frozen)]
        resolved = Resolved(tuple(rows), Counter(answer=len(rows)), 0, 0, 0)
    if not resolved.rows:
        raise InputError("no label to calibrate on: there is no answer, or all labels contradict each other")
    return resolved


def _check_options(config: Config) -> None:
    if bool(config.labels) == bool(config.rows):
        raise InputError("give either --labels of videos or --rows made from them")
    if config.critic is None and config.scores is None:
        raise InputError("say what to calibrate: --critic, or --scores of an uncalibrated critic")
    if find_spec("matplotlib") is None:
        raise InputError("the reliability picture needs matplotlib: pip install 'worldcritic[distill]'")


def _file(path: Path) -> Path:
    return path / FILE_NAME if path.is_dir() else path


def _loaded(config: Config) -> _Subject:
    """Load the critic without the calibration that it may have."""
    from reward.loading import find_folder, load_critic, offered
    from reward.manifest import read_manifest
    from reward.model import RewardModel

    name = str(config.critic)
    options = LoadOptions(**{field.name: getattr(config, field.name) for field in dataclasses.fields(LoadOptions)})
    model, folder = offered(name, options), None
    reason: str | None = f"{name} is a short name and has no folder"
    if model is not None:
        model = RewardModel(model.critic, min_answer_mass=model.min_answer_mass)
    else:
        folder = find_folder(name, options.revision)
        critic = load_critic(name, folder, options)
        model = RewardModel(critic, min_answer_mass=critic.manifest.min_answer_mass)
        reason = _why_not(folder, read_manifest(folder), critic.manifest.sha256)
    least = model.min_answer_mass if config.min_answer_mass is None else config.min_answer_mass
    return _Subject(model.identity, least, folder, reason, model=model)


def _from_scores(config: Config) -> _Subject:
    """Take what named the critic from its score rows; refuse rows that are calibrated already."""
    from reward.manifest import read_manifest

    assert config.scores is not None
    rows = load_scores(config.scores)
    identity = next((row.critic for row in rows if row.critic is not None), None)
    if identity is None:
        raise InputError(f"{config.scores}: the rows do not name their critic, so a calibration cannot be bound to it")
    if identity.get("calibrated"):
        raise InputError(
            f"{config.scores}: scored by a calibrated critic; its p_yes are no raw answers. Give --critic alone, or "
            "score again without the calibration"
        )
    folder = Path(config.critic) if config.critic and Path(config.critic).is_dir() else None
    manifest = read_manifest(folder) if folder else None
    found = identity.get("manifest_sha256")
    if manifest is not None and manifest.sha256 != found:
        raise InputError(
            f"{config.scores}: scored by the critic of manifest {str(found)[:12]}..., but {folder} holds "
            f"{manifest.sha256[:12]}...; score with this critic"
        )
    own = identity.get("min_answer_mass", 0.0)
    least = config.min_answer_mass if config.min_answer_mass is not None else float(own)
    reason = _why_not(folder, manifest, found) if folder else "--critic names no folder"
    return _Subject(identity, least, folder, reason, scores=tuple(rows))


def _why_not(folder: Path, manifest: Any, sha256: str | None) -> str | None:
    """Return why a calibration cannot go into a folder, None if it can."""
    if manifest is None:
        return f"{folder} has no manifest; save the critic with RewardModel.save_pretrained first"
    if manifest.sha256 != sha256:
        return "it was asked with other frames or pixels than its manifest says"
    return None


def _installed_path(subject: _Subject, config: Config) -> Path | None:
    from reward.calibration import FILE_NAME as CALIBRATION

    if not config.install or subject.folder is None or subject.not_installed:
        return None
    path = subject.folder / CALIBRATION
    return None if path.resolve() == (config.out / CALIBRATION).resolve() else path


def _refuse_trained(subject: _Subject, resolved: Resolved) -> None:
    from reward.training import read_training

    record = read_training(subject.folder) if subject.folder else None
    if record is not None:
        prompts = {row.prompt_key for row in resolved.rows}
        record.refuse_seen(prompts, {row.sha256 for row in resolved.rows if row.sha256}, "calibrate on")
    elif subject.identity.get("trained"):
        print(
            "WARNING: no training.json beside the critic; that these prompts were not trained on cannot be checked",
            file=sys.stderr,
        )


def _counts(unanswered: Mapping[str, int]) -> str:
    shown = sorted(unanswered.items(), key=lambda item: -item[1])
    more = f"; and {len(shown) - _SHOWN} more reasons" if len(shown) > _SHOWN else ""
    return "; ".join(f"{count} {reason}" for reason, count in shown[:_SHOWN]) + more


def _finish(
    config: Config, subject: _Subject, resolved: Resolved, held_out: "HeldOut", inputs: Mapping[str, Path]
) -> None:
    """Fit, measure by cross-fitting, and write everything."""
    from distill import calibration_report as report
    from distill.card import update_calibration
    from reward.calibration import write_calibration

    answers, orders = held_out.answers, held_out.orders
    calibrator = Calibrator(config.method, config.min_errors, config.folds, config.orders, config.seed)
    calibrator.fit(answers, orders)
    after = cross_fitted(calibrator, answers)
    lines = report.table_lines(calibrator, answers, after, config.resamples, config.seed)
    order = report.order_line(orders, cross_fitted_orders(calibrator, orders), config.resamples, config.seed)
    if order is not None:
        order["method"] = calibrator.methods_.get(EVENT_FOLLOWING)
    reliability = report.reliability_json(answers, after, config.resamples, config.seed)
    fit = {
        "methods": calibrator.methods_,
        "held_out_nll": calibrator.held_out_nll_,
        "answers": len(answers),
        "orders": len(orders.predicted),
        "prompts": len(set(answers.prompt)),
        "labels_sha256": [sha256_file(path) for name, path in inputs.items() if name != "scores"],
    }
    calibration = calibrator.calibration(subject.identity.get("manifest_sha256"), fit)
    full = {
        "critic": dict(subject.identity),
        "fit": fit,
        "labels_by_state": dict(resolved.states),
        "conflicts": resolved.conflicts,
        "unanswered": dict(held_out.unanswered),
        "table": lines,
        "event_order": order,
        "reliability": reliability,
    }
    title = f"{subject.identity.get('name', 'critic')}: {len(answers)} answers, {fit['prompts']} prompts; bars: 95%"
    report.write_picture(config.out / PICTURE, reliability, title)
    write_json(config.out / REPORT, full)
    write_calibration(config.out, calibration)
    save_run(config, config.out / REPORT, inputs, critic=dict(subject.identity))
    installed = _installed_path(subject, config)
    if installed:
        write_calibration(installed.parent, calibration)
    for folder in {config.out, installed.parent if installed else config.out}:
        update_calibration(folder, lines, order, len(set(answers.prompt)))  # where a critic's card lies
    print(report.table_text(lines, order))
    _say(config, subject, held_out.unanswered, installed)


def _say(config: Config, subject: _Subject, unanswered: Mapping[str, int], installed: Path | None) -> None:
    lines = []
    if unanswered:
        lines.append(f"labels without an answer: {_counts(unanswered)}")
    if not subject.identity.get("trained", True):
        lines.append("WARNING: the critic was never trained: there is nothing in its answers to calibrate")
    if installed:
        lines.append(f"installed: {installed}")
    elif config.install and subject.not_installed:
        lines.append(f"not installed: {subject.not_installed}")
    lines.append(f"written: {config.out}")
    print("\n".join(lines), file=sys.stderr)
