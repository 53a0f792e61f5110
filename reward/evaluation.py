"""What an evaluation gives, wherever its answers came from: official report, points, coverage, lines for a person."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reward.dimensions import EVENT_FOLLOWING
from reward.statistics import CONFIDENCE
from reward.tables import count_shown
from reward.tally import OVERALL, Line, Tally, lines_to_json, lines_to_text, summarise

_NAMES_SHOWN = 5


@dataclass(frozen=True)
class Evaluation:
    """One evaluation.

    `official` is VideoVerse's report, None where its totals are not defined, with the reason in `no_official`.
    `expected` and `missing` name prompts that should have a video and those that have no answered one. `details`
    goes into the report as it is, `notes` to the person.
    """

    official: Mapping[str, Any] | None
    no_official: str | None
    tally: Tally
    expected: Sequence[str]
    missing: Sequence[str]
    details: Mapping[str, Any]
    notes: Sequence[str]


@dataclass(frozen=True)
class Summary:
    """An evaluation with its table summed up."""

    evaluation: Evaluation
    lines: Sequence[Line]
    resamples: int
    seed: int

    def to_json(self) -> dict[str, Any]:
        """Return the full report: the official keys, then ours under "worldcritic"."""
        evaluation = self.evaluation
        official = evaluation.official or {"overall_summary": None, "per_video_analysis": None}
        ours = {
            **({"no_official_totals": evaluation.no_official} if evaluation.no_official else {}),
            "table": lines_to_json(self.lines),
            "coverage": self.coverage(),
            "intervals": {
                "kind": "percentile bootstrap over prompts",
                "confidence": CONFIDENCE,
                "resamples": self.resamples,
                "seed": self.seed,
            },
            **evaluation.details,
        }
        return {**official, "worldcritic": ours}

    def coverage(self) -> dict[str, Any]:
        """Return how many of the videos, checks and events that should be answered are, and which videos are not."""
        events, checks = self._events_and_checks()
        expected, missing = self.evaluation.expected, self.evaluation.missing
        return {
            "videos": {"expected": len(expected), "present": len(expected) - len(missing), "missing": list(missing)},
            "checks": dict(zip(("expected", "answered"), checks, strict=True)),
            "events": dict(zip(("expected", "answered"), events, strict=True)),
        }

    def to_text(self) -> str:
        """Return the table and, below it, official total, coverage and what the source adds."""
        return "\n".join(
            [lines_to_text(self.lines), "", self._official_line(), self._coverage_line(), *self.evaluation.notes]
        )

    def _events_and_checks(self) -> tuple[tuple[float, float], tuple[float, float]]:
        by_name = {line.dimension: (line.asked, line.answered) for line in self.lines}
        overall, events = by_name[OVERALL], by_name[EVENT_FOLLOWING]
        return events, (overall[0] - events[0], overall[1] - events[1])

    def _official_line(self) -> str:
        if self.evaluation.official is None:
            return f"no official totals: {self.evaluation.no_official}"
        summary = self.evaluation.official["overall_summary"]
        if not summary:
            return "official total: the file holds no video"
        return (
            f"official total {summary['total_score']}: events {summary['total_event_adherence']}, "
            f"checks {summary.get('verification_checks_score', 0)}, videos {summary['total_videos_processed']}"
        )

    def _coverage_line(self) -> str:
        events, checks = self._events_and_checks()
        expected, missing = self.evaluation.expected, self.evaluation.missing
        names = ", ".join(missing[:_NAMES_SHOWN]) + (", ..." if len(missing) > _NAMES_SHOWN else "")
        return (
            f"coverage: {len(expected) - len(missing)} of {len(expected)} videos, "
            f"{count_shown(checks[1])} of {count_shown(checks[0])} checks, "
            f"{count_shown(events[1])} of {count_shown(events[0])} events answered"
            + (f"; no answer for {names}" if missing else "")
        )


def summed_up(evaluation: Evaluation, resamples: int, seed: int) -> Summary:
    """Sum an evaluation's points up, with bootstrap intervals by prompt."""
    return Summary(evaluation, summarise(evaluation.tally, resamples, seed), resamples, seed)
