"""The model card of a trained critic: README.md in its folder, from the run's own numbers.

sft writes it, calibrate replaces the part between the calibration marks. What was not measured is said to be unknown.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from distill.rows import Row
from reward.dimensions import NAMES
from reward.files import read_text, write_atomic
from reward.tables import shown

if TYPE_CHECKING:
    from distill.sft import Config

FILE_NAME = "README.md"
BEGIN, END = "<!-- calibration -->", "<!-- /calibration -->"
_SETTINGS = (
    "lora", "lora_r", "lora_alpha", "lr", "warmup", "weight_decay", "epochs", "max_steps", "batch_size", "accumulate",
    "labels", "order_loss", "order_weight", "lcs_weight", "video_frames", "video_fps", "max_pixels", "seed",
)  # fmt: skip
_NOT_CALIBRATED = (
    "Not calibrated: its probabilities are what the training left. `worldcritic calibrate` fits and adds a calibration."
)
_USE = """```
worldcritic score --critic FOLDER --prompts prompts.json --videos videos --out scores.jsonl
```

or `reward.RewardModel.from_pretrained(FOLDER).score_files(videos, prompts)`."""


def write_card(
    folder: Path,
    config: "Config",
    rows: Sequence[Row],
    held_out: Sequence[Row],
    *,
    metrics: Mapping[str, float],
    steps: Mapping[str, int | None],
) -> None:
    """Write the card of a critic that was trained on `rows` and chosen by `metrics` on `held_out`.

    `steps` counts the optimiser steps, by what they are.
    """
    name = plain(config.name or config.out.resolve().name)
    is_folder = Path(config.model).expanduser().is_dir()
    base = Path(config.model).expanduser().resolve().name if is_folder else config.model
    head: dict[str, Any] = {
        "library_name": "peft" if config.lora else "transformers",
        "pipeline_tag": "video-text-to-text",
        "tags": ["worldcritic", "video", "reward-model"],
    }
    if not is_folder:
        head["base_model"] = base
    parts = [
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---",
        f"# {name}",
        f"A critic of generated videos, trained with worldcritic from `{plain(base)}`"
        + (" (a folder)" if is_folder else "")
        + (" as a LoRA adapter" if config.lora else "")
        + ". It answers yes/no questions about a video and says which events happen in which order.",
        f"## Use\n\n{_USE}",
        f"## Training data\n\n{_data(rows)}",
        f"## Settings\n\n{_settings(config, steps)}",
        f"## Validation\n\n{_validation(held_out, metrics)}",
        f"## Calibration\n\n{BEGIN}\n{_NOT_CALIBRATED}\n{END}",
        f"## Limits\n\n{_limits(rows, bool(held_out))}",
    ]
    write_atomic(folder / FILE_NAME, "\n\n".join(parts) + "\n")


def update_calibration(
    folder: Path, lines: Sequence[Mapping[str, Any]], order: Mapping[str, Any] | None, prompts: int
) -> bool:
    """Put a calibration's table into the card in `folder`; return whether there is a card with the marks for it.

    `lines` and `order` as `distill.calibration_report` gives them, on prompts held out of the fit.
    """
    path = folder / FILE_NAME
    text = read_text(path, "model card") if path.exists() else ""
    begin, mark, rest = text.partition(BEGIN)
    _, end_mark, end = rest.partition(END)
    if not mark or not end_mark:
        return False
    table = [["dimension", "answers", "wrong", "map", "ECE", "after", "NLL", "after", "AUROC after"]]
    for line in lines:
        cells = [shown(line[when][what]["value"]) for what in ("ece_width", "nll") for when in ("before", "after")]
        used = f"{line['map']} {line['method']}" if line["map"] else "-"
        auroc = shown(line["after"]["auroc"]["value"])
        table.append([line["dimension"], str(line["n"]), str(line["errors"]), used, *cells, auroc])
    if order is not None:
        nll = [shown(order[when]["nll"]["value"]) for when in ("before", "after")]
        used = order.get("method") or "as it is"
        table.append([order["dimension"], str(order["n"]), str(order["errors"]), used, "-", "-", *nll, "-"])
    said = f"Fitted on labels of {prompts} prompts; each figure is of answers whose prompts were left out of its fit."
    write_atomic(path, f"{begin}{BEGIN}\n{said}\n\n{markdown(table)}\n{END}{end}")
    return True


def markdown(table: Sequence[Sequence[str]]) -> str:
    """Return rows, the first one the header, as a Markdown table."""
    header, *rows = ("| " + " | ".join(cells) + " |" for cells in table)
    return "\n".join([header, "|" + "---|" * len(table[0]), *rows])


def plain(text: str) -> str:
    """Return text from outside as one line without Markdown's own signs."""
    return "".join(" " if each in "`|<>[]\n\r" else each for each in text).strip()[:200] or "unnamed"


def _data(rows: Sequence[Row]) -> str:
    table = [["dimension", "rows", "Yes, or all events in order", "other", "sum of weights"]]
    for name in NAMES:
        some = [row for row in rows if row.dimension == name]
        positive = sum(row.positive for row in some)
        weight = f"{sum(row.weight for row in some):.1f}"
        table.append([name, str(len(some)), str(positive), str(len(some) - positive), weight])
    prompts, videos = ({getattr(row, key) for row in rows} for key in ("prompt_key", "content"))
    lines = [f"{len(rows)} rows about {len(videos)} videos of {len(prompts)} prompts.", "", markdown(table), ""]
    for what, key in (("Teachers", "teacher"), ("Generators", "generator")):
        counts = Counter(plain(getattr(row, key) or "not named") for row in rows)
        named = ", ".join(f"{name} ({count} rows)" for name, count in counts.most_common(10))
        lines.append(f"- {what}: {named}" + (f", and {len(counts) - 10} more" if len(counts) > 10 else ""))
    if mismatched := sum(row.mismatched for row in rows):
        lines.append(f"- {mismatched} rows are questions of other prompts, answered No unwatched.")
    if frozen := sum(row.frozen for row in rows):
        lines.append(f"- {frozen} rows are about frozen copies of videos, answered unwatched.")
    return "\n".join(lines)


def _settings(config: "Config", steps: Mapping[str, int | None]) -> str:
    given = {name: getattr(config, name) for name in _SETTINGS if config.lora or not name.startswith("lora_")}
    table = [["setting", "value"], *([name, str(value)] for name, value in given.items() if value is not None)]
    return markdown([*table, *([name, str(value)] for name, value in steps.items() if value is not None)])


def _validation(held_out: Sequence[Row], metrics: Mapping[str, float]) -> str:
    if not held_out:
        return "None: no validation rows were given, so nothing is known of its accuracy."
    counts = Counter(row.dimension for row in held_out)
    table = [["dimension", "rows", "NLL", "right"]]
    for name, count in (("all", len(held_out)), *((name, counts[name]) for name in NAMES if counts[name])):
        tail = "" if name == "all" else f"_{name}"
        nll, right = metrics[f"eval_nll{tail}"], metrics[f"eval_accuracy{tail}"]
        table.append([name, str(count), f"{nll:.4f}", f"{right:.3f}"])
    return (
        "On rows of other prompts, before calibration; NLL per row, an order's summed over its letters. These rows "
        f"chose the checkpoint, so the figures flatter it a little.\n\n{markdown(table)}"
    )


def _limits(rows: Sequence[Row], validated: bool) -> str:
    asked = {row.dimension for row in rows}
    lines = ["- It repeats its teachers' mistakes; nothing here was checked against people unless the teachers are."]
    if absent := [name for name in NAMES if name not in asked]:
        lines.append(f"- Not trained on: {', '.join(absent)}.")
    if validated:
        lines.append("- Videos of other generators than those above were not part of the validation.")
    lines += [
        "- It was asked in worldcritic's own words, with the frames and pixels above; worldcritic.json binds them.",
        "- training.json lists the prompts and videos it has learned from; do not judge it on these.",
        "- The base model's licence and the teachers' terms apply.",
    ]
    return "\n".join(lines)
