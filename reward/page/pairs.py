"""The audit of mined preference pairs, and some of them side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reward.errors import InputError
from reward.files import read_json
from reward.page.leaderboard import LABELS
from reward.page.videos import Video, Videos
from reward.preference_pairs import PreferencePair, load_pairs
from reward.statistics import Interval

FILE_NAME = "report.json"


@dataclass(frozen=True)
class Gain:
    """What the chosen videos are better in: mean difference, interval, share of pairs in which they are worse."""

    label: str
    pairs: int
    mean: float
    interval: Interval
    worse: float


@dataclass(frozen=True)
class PairsSection:
    """Counts, gains, why pairs were not taken, and example pairs as (pair, chosen, rejected)."""

    pairs: int
    ties: int
    prompts: int
    compared: int
    videos: int
    probability: Mapping[str, float] | None
    margin: Mapping[str, float] | None
    gains: Sequence[Gain]
    rejected: Sequence[tuple[str, int]]
    examples: Sequence[tuple[PreferencePair, Video, Video]]


def load_pairs_section(folder: Path, videos: Videos, most: int) -> PairsSection:
    """Read what `worldcritic mine` wrote into a folder; examples are spread evenly over all pairs.

    Raises InputError for a folder without pairs in our own format or without their report.
    """
    pairs = load_pairs(folder)
    record = read_json(folder / FILE_NAME, "report of pairs")
    try:
        gains = {**{LABELS[name]: each for name, each in record["gains"].items()}, "motion, levels": record["motion"]}
        section = PairsSection(
            pairs=len(pairs),
            ties=int(record["ties"]),
            prompts=int(record["prompts_with_pairs"]),
            compared=int(record["compared"]),
            videos=int(record["distinct_videos"]),
            probability=record["probability"],
            margin=record["margin"],
            gains=[_gain(label, each) for label, each in gains.items() if each],
            rejected=[(str(reason), int(count)) for reason, count in record["rejected"].items()],
            examples=[_example(pair, videos) for pair in _spread(pairs, most)],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{folder / FILE_NAME}: not the report of `worldcritic mine` ({type(error).__name__}: {error}); mine again"
        ) from None
    return section


def _gain(label: str, each: Mapping[str, Any]) -> Gain:
    interval = Interval(each["interval"]["low"], each["interval"]["high"])
    return Gain(label, int(each["pairs"]), float(each["mean"]), interval, float(each["worse"]))


def _spread(pairs: Sequence[PreferencePair], most: int) -> list[PreferencePair]:
    count = min(most, len(pairs))
    return [pairs[i * len(pairs) // count] for i in range(count)]


def _example(pair: PreferencePair, videos: Videos) -> tuple[PreferencePair, Video, Video]:
    chosen, rejected = (videos.show(side.path, side.video) for side in (pair.chosen, pair.rejected))
    return pair, chosen, rejected
