"""Detectors: how much of what a prompt asks for is seen in a clip.

A package offers one under a short name by an entry point in the group "worldcritic.detectors" that points to a callable
(Clip, Prompt) -> share in [0, 1] of the asked-for things that are present, NaN where the prompt asks for none.
"""

from collections.abc import Callable
from importlib.metadata import entry_points

from reward.errors import InputError
from reward.prompts import Prompt
from reward.video import Clip

ENTRY_POINTS = "worldcritic.detectors"
Detector = Callable[[Clip, Prompt], float]


def find_detector(name: str) -> Detector:
    """Return the detector of a short name; InputError naming the known ones."""
    for entry_point in entry_points(group=ENTRY_POINTS, name=name):
        detector: Detector = entry_point.load()
        return detector
    known = ", ".join(sorted(entry_points(group=ENTRY_POINTS).names)) or "none"
    raise InputError(f"detector {name!r} is not installed; short names are: {known}")
