"""Mine preference pairs from scored candidates, by how probable it is that one is better than the other.

Writes a folder that `datasets.load_dataset("videofolder", data_dir=OUT)` loads with a chosen and a rejected video:
`metadata.jsonl`, `videos/`, and beside them `ties.jsonl`, the audit `report.json` and `mine.run.json`. --format writes
VideoAlign's CSV or VideoDPO's folder instead; --from_videoalign and --from_videodpo read these instead of scores.
The probability takes reward_std for the doubt of each reward and the doubts of two videos for independent: a
calibrated critic is needed for it to mean what it says. Exit code 3: there is no pair.
"""

import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from reward.config import config, save_run
from reward.copying import place
from reward.errors import InputError
from reward.files import check_outputs, write_json
from reward.found_pairs import Found
from reward.mine_scores import from_scores
from reward.options import Positive
from reward.pair_report import pair_report, report_table
from reward.pairs import PairOptions
from reward.preference_pairs import METADATA, TIES, VIDEOS, PreferencePair, files_by_hash, write_videofolder
from reward.progress import Progress
from reward.videoalign import DATA, from_videoalign, write_videoalign
from reward.videodpo import LOSE, PAIRS, WIN, from_videodpo, videodpo_files, write_videodpo
from reward.videodpo import METADATA as VIDEODPO_METADATA

REPORT, RUN = "report.json", "mine.run.json"
_PLACED = re.compile(r"[0-9a-f]{64}|[0-9]{6}")


@config
class Config(PairOptions):
    """Options of `worldcritic mine`."""

    out: Path
    """Folder to write."""
    scores: Path | None = None
    """Score file, as `worldcritic score` writes it: one row per video, all by one critic."""
    from_videoalign: Path | None = None
    """VideoAlign's pair CSV to read instead of scores; the options of mining then do nothing."""
    from_videodpo: Path | None = None
    """VideoDPO's folder to read instead of scores, likewise."""
    prompts: Path | None = None
    """Prompt file of the scored videos; by default the one that the score file's run record names."""
    videos: Path | None = None
    """Folder that video paths are relative to; by default the one that was scored, or that of the file read."""
    aspect: Literal["VQ", "MQ", "TA", "Overall"] | None = None
    """Column of a VideoAlign CSV that decides; by default the video that more columns prefer."""
    format: Literal["videofolder", "videoalign", "videodpo"] = "videofolder"
    """What to write. VideoDPO knows no ties; VideoAlign has them as "same"."""
    copy: bool = False
    """Copy the videos even where a hard link would do."""
    limit: Positive | None = None
    """Take only the first so many prompts."""
    dry_run: bool = False
    """Print the audit, write nothing."""
    overwrite: bool = False
    """Replace what an earlier run wrote into the folder."""


class _Format(NamedTuple):
    written: tuple[str, ...]
    files: Callable[[Sequence[PreferencePair], Sequence[PreferencePair]], dict[str, Path]]
    write: Callable[[Path, Sequence[PreferencePair], Sequence[PreferencePair]], None]


_FORMATS = {
    "videofolder": _Format((METADATA, TIES), files_by_hash, write_videofolder),
    "videoalign": _Format((DATA,), files_by_hash, write_videoalign),
    "videodpo": _Format((VIDEODPO_METADATA, PAIRS), videodpo_files, write_videodpo),
}
_EVERY_FILE = (*(name for each in _FORMATS.values() for name in each.written), REPORT, RUN)


def main(config: Config) -> int:
    """Run the verb; returns 3 where there is no pair, else 0."""
    config.check()
    if sum(each is not None for each in (config.scores, config.from_videoalign, config.from_videodpo)) != 1:
        raise InputError("give one of --scores FILE, --from_videoalign CSV and --from_videodpo FOLDER")
    if config.aspect is not None and config.from_videoalign is None:
        raise InputError("--aspect is a column of --from_videoalign")
    if not config.dry_run:
        _check_out(config)
    found = _found(config)
    report = pair_report(found)
    if found.pairs and not config.dry_run:
        _write(config, found, report)
    _show(config, report)
    return 0 if found.pairs else 3


def _found(config: Config) -> Found:
    if config.from_videoalign is not None:
        return from_videoalign(config.from_videoalign, config.videos, config.aspect, config.limit)
    if config.from_videodpo is not None:
        return from_videodpo(config.from_videodpo, config.videos, config.limit)
    assert config.scores is not None
    return from_scores(
        config.scores,
        config,
        prompts=config.prompts,
        videos=config.videos,
        limit=config.limit,
        check_videos=not config.dry_run,
    )


def _check_out(config: Config) -> None:
    """Refuse, before any work, a folder that holds something; what `mine` itself wrote gives way to --overwrite."""
    if config.out.is_file():
        raise InputError(f"--out {config.out} is a file; name a folder")
    if config.out.is_dir() and not (config.out / RUN).exists() and any(config.out.iterdir()):
        raise InputError(f"--out {config.out} holds files that `worldcritic mine` did not write; name another folder")
    sources = (config.scores, config.from_videoalign, config.from_videodpo)
    read = [each for each in sources if each is not None]
    if any(each.resolve().is_relative_to(config.out.resolve()) for each in read):
        raise InputError(f"--out {config.out} is where the input lies; name another folder")
    check_outputs([config.out / name for name in _EVERY_FILE], read, config.overwrite)


def _write(config: Config, found: Found, report: Mapping[str, Any]) -> None:
    """Place the videos, then write the lists of them, so that no list names a video that is not there."""
    out, kind = config.out, _FORMATS[config.format]
    files = kind.files(found.pairs, found.ties)
    for source in files.values():
        if source.resolve().is_relative_to(out.resolve()):
            raise InputError(f"video {source} lies in --out {out}, which is written anew; name another folder")
    for name in _EVERY_FILE:
        if name != RUN:
            (out / name).unlink(missing_ok=True)
    save_run(config, out / "mine", found.inputs)
    _drop_old_videos(out, set(files))
    with Progress(len(files), "placing videos") as progress:
        for name, source in files.items():
            place(source, out / name, link=not config.copy)
            progress.advance()
    kind.write(out, found.pairs, found.ties)
    write_json(out / REPORT, report)


def _drop_old_videos(out: Path, wanted: set[str]) -> None:
    """Remove the videos that an earlier run placed and this one does not."""
    for folder in (VIDEOS, WIN, LOSE):
        if (out / folder).is_dir():
            for path in (out / folder).iterdir():
                if _PLACED.fullmatch(path.stem) and path.relative_to(out).as_posix() not in wanted:
                    path.unlink()


def _show(config: Config, report: Mapping[str, Any]) -> None:
    table = report_table(dict(report))
    if table:
        print(table)
    unused = Counter(report.get("videos_unused", {}))
    lines = [
        f"pairs: {report['pairs']}, from {report['prompts_with_pairs']} of {report['prompts']} prompts; "
        f"ties: {report['ties']}; compared: {report['compared']}"
    ]
    if unused:
        lines.append(f"videos unused: {unused.total()}: " + ", ".join(f"{n} {reason}" for reason, n in unused.items()))
    if config.format == "videodpo" and report["ties"]:
        lines.append("ties are left out: VideoDPO knows none")
    if not report["pairs"]:
        lines.append("nothing written: no pair; see what was not taken, and milder options")
    elif not config.dry_run:
        lines.append(f"written: {config.out}")
    print("\n".join(lines), file=sys.stderr)
