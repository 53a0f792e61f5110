"""Write one self-contained HTML page about scored videos: leaderboard, curves, every prompt's candidates playing.

The page holds its own style, pictures and a few lines of script; it points to the videos by relative paths and loads
nothing else. What is not given (--pairs, --calibration, --training, ...) is left out, and the page says so. --plots
writes the charts as files too.
"""

import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from reward.chart import Bars, Chart
from reward.config import config, save_run
from reward.errors import InputError
from reward.files import check_outputs, write_atomic
from reward.options import Positive

if TYPE_CHECKING:
    from reward.page.videos import Videos


@config
class Config:
    """Options of `worldcritic report`."""

    scores: Annotated[tuple[Path, ...], Field(min_length=1)]
    """Score files of `worldcritic score`, all by one critic; each file is one generator unless --manifest says more."""
    out: Path
    """HTML file to write; the videos are found relative to it."""
    title: str = "worldcritic report"
    """Heading of the page."""
    names: tuple[str, ...] = ()
    """Names of the generators, one per score file; by default the names of the files."""
    prompts: Path | None = None
    """Prompt file that was scored: its texts and events are shown."""
    videos: Path | None = None
    """Folder that video paths are relative to, instead of the one that each score file's run record names."""
    manifest: Path | None = None
    """JSONL file of {"prompt_id", "video", "generator"}, as `score` takes it: who made which video."""
    pairs: Path | None = None
    """Folder that `worldcritic mine` wrote."""
    calibration: Path | None = None
    """Folder that `worldcritic calibrate` wrote, or the report.json in it."""
    training: Path | None = None
    """Folder of a training run (dpo, rwr, nft)."""
    before: Path | None = None
    """Score file of videos made before training, to be set against --after; else --training's own samples are used."""
    after: Path | None = None
    """Score file of videos made after training."""
    max_prompts: Positive = 300
    """Show the candidates of the first so many prompts; all prompts count in the tables."""
    max_examples: Positive = 12
    """Show so many worst cases, pairs, and prompts before and after."""
    stills: bool = True
    """Put the middle frame of each shown video into the page, as what is seen before it plays."""
    copy_videos: bool = False
    """Link or copy the shown videos into <out>_videos beside the page, so that both can be moved together."""
    plots: Path | None = None
    """Folder for the charts as files (extra `plots`)."""
    format: Annotated[str, Field(pattern=r"^(png|svg|pdf)(,(png|svg|pdf))*$")] = "png,svg,pdf"
    """Formats of the files in --plots: png, svg, pdf, joined by commas."""
    resamples: Annotated[int, Field(ge=1000, le=1_000_000)] = 2000
    """Bootstrap resamples of the prompts for the intervals."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the bootstrap."""
    workers: Positive = 2
    """Processes that decode videos for their stills."""
    decode_seconds: Annotated[float, Field(gt=0)] = 60.0
    """A video that takes longer to decode gets no still."""
    overwrite: bool = False
    """Replace outputs that exist."""


def main(config: Config) -> int:
    """Run the verb; returns 0 when the page is written."""
    from reward.page.render import render
    from reward.page.videos import Videos

    if (config.before is None) != (config.after is None):
        raise InputError("--before and --after go together: give both score files")
    inputs = _inputs(config)
    check_outputs(
        [config.out, config.out.with_name(config.out.name + ".run.json")], [*inputs.values()], config.overwrite
    )
    videos = Videos(config.out, config.out.with_name(f"{config.out.stem}_videos") if config.copy_videos else None)
    sections = _sections(config, videos)
    charts = _charts(sections)
    if config.plots is not None:
        _plot(config, charts, list(inputs.values()))
    if config.stills:
        videos.draw_stills(config.workers, config.decode_seconds)
    page = render(sections | {"title": config.title, "version": version("worldcritic"), "still": videos.still})
    write_atomic(config.out, page)
    save_run(config, config.out, inputs)
    _say(config, sections, page, len(charts) * len(_formats(config)))
    return 0


def _inputs(config: Config) -> dict[str, Path]:
    """Return the files that are read, by a name for the run record."""
    from reward.page import calibration, pairs

    files = {f"scores_{i}": path for i, path in enumerate(config.scores)}
    single = {"prompts": config.prompts, "manifest": config.manifest, "before": config.before, "after": config.after}
    files |= {name: path for name, path in single.items() if path is not None}
    if config.pairs is not None:
        files["pairs"] = config.pairs / pairs.FILE_NAME
    if config.calibration is not None:
        folder = config.calibration.is_dir()
        files["calibration"] = config.calibration / calibration.FILE_NAME if folder else config.calibration
    return files


def _sections(config: Config, videos: "Videos") -> dict[str, Any]:
    """Return what the page shows, by the names of its template; what was not given is None."""
    from reward.page import leaderboard, prompts, worst
    from reward.page.calibration import load_calibration_report
    from reward.page.pairs import load_pairs_section
    from reward.page.scored import check_prompts, load_scored
    from reward.page.training import load_training
    from reward.page.videos import Page
    from reward.prompts import load_prompts

    known = load_prompts(config.prompts) if config.prompts else {}
    found = load_scored(config.scores, config.names, config.videos, config.manifest)
    if known:
        check_prompts(found, known)
    board = leaderboard.standings(found, config.resamples, config.seed)
    shown, left_out = prompts.blocks(found, known, videos, config.max_prompts)
    anchors = {block.prompt_id: block.number for block in shown}
    sections = {
        "head": leaderboard.headline(found, board),
        "board": board,
        "labels": leaderboard.LABELS,
        "curves": leaderboard.curves(found, config.resamples, config.seed),
        "calibration": load_calibration_report(config.calibration) if config.calibration else None,
        "pairs": load_pairs_section(config.pairs, videos, config.max_examples) if config.pairs else None,
        "training": load_training(config.training) if config.training else None,
        "changes": _changes(config, Page(known, videos, config.max_examples)),
        "worst": worst.worst_cases(found, anchors, videos, config.max_examples),
        "failures": worst.failures(found, 20 * config.max_examples),
        "blocks": shown,
        "left_out": left_out,
        "sources": [path.name for path in config.scores],
    }
    return sections | {"missing": _missing(config, sections)}


def _changes(config: Config, page: Any) -> Any:
    from reward.page.changes import changes_of_run, changes_of_scores

    if config.before is not None and config.after is not None:
        return changes_of_scores(config.before, config.after, page)
    return changes_of_run(config.training, page) if config.training else None


def _missing(config: Config, sections: dict[str, Any]) -> list[str]:
    """Say of every section that is left out why."""
    reasons = {
        "Prompt texts and events: --prompts was not given.": config.prompts,
        "Best of n: no prompt has two candidates with a reward from one generator.": sections["curves"],
        "Calibration: --calibration was not given.": config.calibration,
        "Preference pairs: --pairs was not given.": config.pairs,
        "Training: --training was not given.": config.training,
    }
    missing = [text for text, given in reasons.items() if not given]
    if sections["changes"] is None:
        why = "the training run has no two sampled steps" if config.training else "--before and --after were not given"
        missing.append(f"Before and after: {why}.")
    return missing


def _charts(sections: dict[str, Any]) -> list[Chart | Bars]:
    from reward.page.leaderboard import leaderboard_bars

    charts: list[Chart | Bars] = [*leaderboard_bars(sections["board"]), *(each.chart for each in sections["curves"])]
    for name in ("calibration", "training"):
        charts += sections[name].charts if sections[name] else []
    return charts


def _formats(config: Config) -> list[str]:
    return list(dict.fromkeys(config.format.split(",")))


def _plot(config: Config, charts: list[Chart | Bars], inputs: list[Path]) -> None:
    from reward.chart_plot import plot_files, require_matplotlib, write_plots

    assert config.plots is not None
    require_matplotlib()
    check_outputs(plot_files(charts, config.plots, _formats(config)), inputs, config.overwrite)
    write_plots(charts, config.plots, _formats(config))


def _say(config: Config, sections: dict[str, Any], page: str, plots: int) -> None:
    head = sections["head"]
    lines = [
        f"{head['videos']} videos of {head['prompts']} prompts, {len(sections['blocks'])} prompts shown in full",
        *(f"left out: {text}" for text in sections["missing"]),
    ]
    if head["untrained"]:
        lines.append(f"WARNING: critic {head['critic']!r} was never trained: these scores mean nothing")
    if config.plots is not None:
        lines.append(f"plots: {plots} files in {config.plots}")
    lines.append(f"page: {config.out} ({len(page.encode()) / 1e6:.1f} MB)")
    print("\n".join(lines), file=sys.stderr)
