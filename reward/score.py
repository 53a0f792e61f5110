"""Score videos in ten dimensions with a critic, one row per video.

The videos lie in a folder as <prompt id>.mp4 or <prompt id>/<anything>.mp4, or are listed by --manifest. Running the
same command again goes on where it stopped. Exit code 3: some rows failed.
"""

import dataclasses
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pydantic

from reward.candidates import Candidate, Candidates, in_shard, locate_candidates, say_missing
from reward.config import config, save_run
from reward.dimensions import NAMES
from reward.errors import InputError
from reward.files import append_jsonl, heal_jsonl, read_jsonl, write_jsonl, writing
from reward.options import LoadOptions, Positive, VideoOptions
from reward.progress import Progress

if TYPE_CHECKING:
    from reward.model import RewardModel

_LOAD_OPTIONS = tuple(field.name for field in dataclasses.fields(LoadOptions))

Key = tuple[str, str]
Row = dict[str, Any]


@config
class Config(LoadOptions, VideoOptions):
    """Options of `worldcritic score`."""

    critic: str
    """A critic's folder, a model on the hub, or a short name such as toyworld."""
    out: Path
    """JSONL file of scores; with several shards each writes its own, named after it."""
    limit: Positive | None = None
    """Score only the first so many videos."""
    overwrite: bool = False
    """Discard rows that are already there."""
    retry_errors: bool = False
    """Try videos again whose row says that they failed."""
    dry_run: bool = False
    """List what would be scored, load nothing, write nothing."""
    calibration: Path | None = None
    """A calibration.json of this critic, where it has no folder that holds it, or instead of that one."""
    weights: dict[str, float] = dataclasses.field(default_factory=dict)
    """Weight of a dimension in the reward, 1 where none is given: --weights mechanics 2 common_sense 0."""
    gates: bool = True
    """Pay nothing for frozen and black clips."""
    min_answer_mass: Annotated[float, pydantic.Field(ge=0, le=1)] | None = None
    """Least probability of Yes and No together at which an answer counts, instead of the critic's own."""
    workers: Positive = 2
    """Processes that decode videos ahead of the critic."""
    decode_seconds: Annotated[float, pydantic.Field(gt=0)] = 60.0
    """A video that takes longer to decode is given up."""
    decoder: Literal["auto", "pyav", "decord"] = "auto"
    """Who reads the pixels: auto is pyav; decord only after the same check of the file."""


def main(config: Config) -> int:
    """Score, and return 0, or 3 if some rows have no reward."""
    config.check_shard()
    candidates = locate_candidates(config)
    say_missing(candidates)
    jobs = [candidate for candidate in candidates.found if in_shard(candidate, config.num_shards, config.shard_index)]
    jobs = jobs[: config.limit]
    if not jobs:
        raise InputError("no video to score: none is named after a prompt id of the prompt file")
    if config.dry_run:
        print(json.dumps(_plan(candidates, jobs), indent=2))
        return 0
    out = shard_path(config.out, config.num_shards, config.shard_index)
    with writing(out):
        model = _load(config)
        started = time.monotonic()
        rows = _score(model, jobs, out, config)
        summary = _summary(rows, time.monotonic() - started)
        save_run(
            config,
            out,
            {"prompts": config.prompts} | ({"calibration": config.calibration} if config.calibration else {}),
            critic=model.identity,
            videos_folder=config.videos_folder.resolve(),
            summary=summary,
        )
    _show(summary, model, out)
    return 3 if summary["failed"] else 0


def shard_path(out: Path, num_shards: int, shard_index: int) -> Path:
    """Return the file of one shard: scores.jsonl itself, or scores-00001-of-00004.jsonl."""
    if num_shards == 1:
        return out
    return out.with_name(f"{out.stem}-{shard_index:05d}-of-{num_shards:05d}{out.suffix}")


def _plan(candidates: Candidates, jobs: Sequence[Candidate]) -> dict[str, Any]:
    return {
        "videos": len(jobs),
        "prompts": len({job.prompt.id for job in jobs}),
        "questions": sum(len(job.prompt.asked_checks) + bool(job.prompt.events) for job in jobs),
        "prompts_without_video": len(candidates.without_video),
        "videos_of_no_known_prompt": len(candidates.unmatched),
    }


def _load(config: Config) -> "RewardModel":
    from reward.model import RewardModel

    return RewardModel.from_pretrained(
        config.critic,
        LoadOptions(**{name: getattr(config, name) for name in _LOAD_OPTIONS}),
        weights=config.weights,
        gates=config.gates,
        min_answer_mass=config.min_answer_mass,
        calibration=config.calibration,
    )


def _score(model: "RewardModel", jobs: Sequence[Candidate], out: Path, config: Config) -> list[Row]:
    """Score what has no row yet, appending row by row; then write all rows in order."""
    from reward.scoring import SCORED, same_work, score_candidates
    from reward.video import VideoReaders

    if config.overwrite:
        out.unlink(missing_ok=True)
    rows = _existing(out, model)
    wanted = {_key(job): job for job in jobs}
    for key in [key for key in rows if key in wanted]:
        again = config.retry_errors and rows[key]["status"] not in SCORED
        if again or not same_work(rows[key], wanted[key]):
            del rows[key]
    todo = [job for key, job in wanted.items() if key not in rows]
    with (
        VideoReaders(config.workers, config.decode_seconds, backend=config.decoder) as readers,
        Progress(len(todo), "scoring") as progress,
    ):
        for row in score_candidates(model, todo, readers, at_once=max(config.batch_size or 0, 8)):
            append_jsonl(out, row)
            rows[row["prompt_id"], row["video"]] = row
            progress.advance()
    others = [row for key, row in rows.items() if key not in wanted]
    write_jsonl(out, [*(rows[key] for key in wanted), *others])
    return [rows[key] for key in wanted]


def _key(candidate: Candidate) -> Key:
    return candidate.prompt.id, candidate.video


def _existing(out: Path, model: "RewardModel") -> dict[Key, Row]:
    """Return the rows of an earlier run of the same reward model; InputError if another one wrote them."""
    if not out.exists():
        return {}
    if heal_jsonl(out):
        print(f"{out}: dropped a half-written last line", file=sys.stderr)
    rows = {}
    for number, row in read_jsonl(out, "score file"):
        if row.get("critic") != model.identity:
            raise InputError(
                f"{out}:{number}: scored by {_short(row.get('critic'))}, not by {_short(model.identity)}; "
                "give another --out, or --overwrite"
            )
        rows[row["prompt_id"], row["video"]] = row
    return rows


def _short(identity: Mapping[str, Any] | None) -> str:
    if not identity:
        return "no known critic"
    rest = {key: value for key, value in identity.items() if key != "name" and value not in (None, {}, False)}
    return f"{identity.get('name')} {json.dumps(rest, sort_keys=True)}"


def _summary(rows: Sequence[Row], seconds: float) -> dict[str, Any]:
    from reward.scoring import SCORED

    states = Counter(row["status"] for row in rows)
    scored = [row for row in rows if row["status"] in SCORED]
    return {
        "videos": len(rows),
        "states": dict(states),
        "failed": sum(count for state, count in states.items() if state not in SCORED),
        "gated": sum(bool(row["gates"] and row["gates"]["closed"]) for row in scored),
        "reward": _mean([row["reward"] for row in scored]),
        "dimensions": {name: _mean([row["dimensions"][name] for row in scored]) for name in NAMES},
        "seconds": round(seconds, 3),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def _show(summary: Mapping[str, Any], model: "RewardModel", out: Path) -> None:
    states = ", ".join(f"{count} {state}" for state, count in summary["states"].items())
    lines = [f"{summary['videos']} videos: {states}; {summary['gated']} frozen or black", "mean"]
    for name, value in {"reward": summary["reward"], **summary["dimensions"]}.items():
        lines.append(f"  {name:<24} {'-' if value is None else f'{value:.3f}'}")
    if not model.identity["trained"]:
        lines.append(f"WARNING: critic {model.identity['name']!r} was never trained: these scores mean nothing")
    print("\n".join([*lines, f"rows: {out}"]), file=sys.stderr)
