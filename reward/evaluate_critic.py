"""The parts of `worldcritic evaluate` that judge a critic: against labels, against people, against itself."""

import dataclasses
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reward.config import save_run
from reward.errors import InputError
from reward.files import check_outputs, existing, write_json
from reward.from_labels import agreement_report, agreement_text, preference_report, preference_text
from reward.labels import FILE_NAME, load_labels
from reward.options import LoadOptions
from reward.preferences import load_preferences
from reward.scores import load_scores
from reward.statistics import CONFIDENCE
from reward.training import TrainingRecord, read_training

if TYPE_CHECKING:
    from reward.candidates import Candidate
    from reward.evaluate import Config


def evaluate_critic(config: "Config") -> None:
    """Compare or perturb, print the tables, and write the report."""
    labels = [path / FILE_NAME if path.is_dir() else path for path in config.labels]
    given = {
        "scores": config.scores,
        **{f"labels_{i}": path for i, path in enumerate(labels)},
        "preferences": config.preferences,
        "tie_preferences": config.tie_preferences,
        "prompts": config.prompts,
    }
    inputs = {name: path for name, path in given.items() if path}
    outputs = [config.out, config.out.with_name(config.out.name + ".run.json")] if config.out else []
    check_outputs(outputs, list(inputs.values()), config.overwrite)
    report, text = _counterfactual(config) if config.counterfactual else _compared(config, labels)
    report["intervals"] = {
        "kind": "percentile bootstrap over prompts",
        "confidence": CONFIDENCE,
        "resamples": config.resamples,
        "seed": config.seed,
    }
    if config.out:
        write_json(config.out, report)
        save_run(config, config.out, inputs)
    print(text)
    if config.out:
        print(f"written: {config.out}", file=sys.stderr)


def _compared(config: "Config", label_files: list[Path]) -> tuple[dict[str, Any], str]:
    assert config.scores is not None
    scores = load_scores(config.scores)
    critic = next((row.critic for row in scores if row.critic is not None), None)
    report: dict[str, Any] = {"critic": dict(critic) if critic else None}
    texts = []
    if label_files:
        report["agreement"] = agreement_report(
            [label for path in label_files for label in load_labels(path)],
            scores,
            teacher=config.teacher,
            training=_training(config),
            threshold=config.threshold,
            min_answer_mass=config.min_answer_mass,
            resamples=config.resamples,
            seed=config.seed,
        )
        texts.append(agreement_text(report["agreement"]))
    if config.preferences:
        report["preferences"] = preference_report(
            load_preferences(config.preferences),
            scores,
            margin=config.tie_margin,
            tuning=load_preferences(config.tie_preferences) if config.tie_preferences else None,
            resamples=config.resamples,
            seed=config.seed,
        )
        texts.append(preference_text(report["preferences"]))
    if critic is not None and critic.get("trained") is False:
        texts.append(f"WARNING: critic {critic.get('name')!r} was never trained: its scores mean nothing")
    return report, "\n\n".join(texts)


def _training(config: "Config") -> TrainingRecord | None:
    """Return what the critic that --critic names was trained on, None where none is named."""
    if config.critic is None:
        return None
    record = read_training(existing(Path(config.critic), "critic's folder"))
    if record is None:
        raise InputError(f"critic {config.critic} has no training.json, so what it was trained on is not known")
    return record


def _by_turns(candidates: Sequence["Candidate"]) -> list["Candidate"]:
    """Return each prompt's first candidate, then each one's second, and so on: a few of them are of many prompts."""
    turns: Counter[str] = Counter()
    numbered = []
    for candidate in candidates:
        numbered.append((turns[candidate.prompt.id], candidate))
        turns[candidate.prompt.id] += 1
    return [candidate for _, candidate in sorted(numbered, key=lambda each: each[0])]


def _counterfactual(config: "Config") -> tuple[dict[str, Any], str]:
    from reward.candidates import find_candidates
    from reward.counterfactual import Changes, Judging, measure_changes, report, report_text
    from reward.model import RewardModel
    from reward.progress import Progress
    from reward.prompts import load_prompts
    from reward.video import VideoReaders

    assert config.critic is not None
    assert config.prompts is not None
    assert config.videos is not None
    candidates = _by_turns(find_candidates(load_prompts(config.prompts), config.videos).found)[: config.limit]
    if not candidates:
        raise InputError(f"no video in {config.videos} is named after a prompt id of {config.prompts}")
    options = LoadOptions(**{field.name: getattr(config, field.name) for field in dataclasses.fields(LoadOptions)})
    model = RewardModel.from_pretrained(
        config.critic, options, min_answer_mass=config.min_answer_mass, calibration=config.calibration
    )
    changes = Changes()
    with VideoReaders(config.workers) as readers, Progress(len(candidates), "perturbing") as progress:
        for result in measure_changes(model, candidates, readers, config.seed):
            changes = result
            progress.advance()
    found = report(changes, Judging(config.margin, config.resamples, config.seed))
    text = report_text(found)
    if not model.identity["trained"]:
        text += f"\nWARNING: critic {model.identity['name']!r} was never trained: its scores mean nothing"
    return {"critic": model.identity, "counterfactual": found}, text
