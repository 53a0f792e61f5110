"""What went wrong: the lowest rewards with what pulled them down, and the videos without a reward with the reason."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reward.page.leaderboard import LABELS
from reward.page.scored import Scored
from reward.page.videos import Video, Videos
from reward.scores import ScoreRow

_QUESTIONS = 3


@dataclass(frozen=True)
class Worst:
    """A video with a low reward; `anchor` is the number of its prompt's block, None if that is not shown."""

    scored: Scored
    video: Video
    reasons: Sequence[str]
    anchor: int | None


@dataclass(frozen=True)
class Failures:
    """Videos without a reward: how often each reason, and single videos with theirs, the first so many."""

    count: int
    reasons: Sequence[tuple[str, int]]
    rows: Sequence[Scored]


def worst_cases(found: Sequence[Scored], anchors: Mapping[str, int], videos: Videos, most: int) -> list[Worst]:
    """Return the videos with the lowest rewards, lowest first, at most a third of all: the rest is not bad."""
    scored = sorted((each for each in found if each.row.scored), key=lambda each: (each.row.reward, each.row.video))
    return [
        Worst(each, videos.show(each.path, each.row.video), why_low(each.row), anchors.get(each.row.prompt_id))
        for each in scored[: min(most, max(1, len(scored) // 3))]
    ]


def why_low(row: ScoreRow) -> list[str]:
    """Return what lowered a reward: closed gates, missing order, and the questions most probably answered No."""
    reasons = [f"nothing is paid for a {gate} clip" for gate in (row.gates.closed if row.gates else ())]
    if row.events is not None and row.events.expected_lcs < row.events.n / 2:
        seen = f"most probable order {row.events.order}" if row.events.order else "most probably no event happens"
        reasons.append(f"{row.events.expected_lcs:.2f} of {row.events.n} events in order: {seen}")
    low = sorted((check for check in row.questions if check.p_yes < 0.5), key=lambda check: check.p_yes)
    reasons += [f"{LABELS[check.dimension]}, {check.p_yes:.2f}: {check.question}" for check in low[:_QUESTIONS]]
    if len(low) > _QUESTIONS:
        more = len(low) - _QUESTIONS
        reasons.append(f"and {more} more question{'s' * (more > 1)} below 0.5")
    return reasons


def failures(found: Sequence[Scored], most: int) -> Failures:
    """Return the videos without a reward."""
    failed = [each for each in found if not each.row.scored]
    reasons = Counter(each.row.status if each.row.status else "no reward" for each in failed)
    return Failures(len(failed), reasons.most_common(), failed[:most])
