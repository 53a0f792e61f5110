"""The ten dimensions of VideoVerse (arXiv 2510.08398, section 3): our names, its spellings, its grouping."""

from dataclasses import dataclass
from typing import Literal

from reward.errors import InputError


@dataclass(frozen=True)
class Dimension:
    """One dimension. `official` is the `check_type` string of VideoVerse's files."""

    name: str
    official: str
    kind: Literal["dynamic", "static"]


EVENT_FOLLOWING = "event_following"

DIMENSIONS = (
    Dimension(EVENT_FOLLOWING, "Event Following", "dynamic"),
    Dimension("mechanics", "Mechanics", "dynamic"),
    Dimension("interaction", "Interaction", "dynamic"),
    Dimension("material_properties", "Material Properties", "dynamic"),
    Dimension("camera_control", "Camera Control", "dynamic"),
    Dimension("natural_constraints", "Natural Constraints", "static"),
    Dimension("common_sense", "Common Sense", "static"),
    Dimension("attribution_correctness", "Attribution Correctness", "static"),
    Dimension("layout_2d", "2d_layout", "static"),
    Dimension("depth_3d", "3d_depth", "static"),
)
"""All ten, in the order of every table and file that we write."""

NAMES = tuple(dimension.name for dimension in DIMENSIONS)
CHECK_NAMES = tuple(name for name in NAMES if name != EVENT_FOLLOWING)
OFFICIAL = {dimension.name: dimension.official for dimension in DIMENSIONS}

_BY_SPELLING = {
    spelling.casefold().replace(" ", "_"): dimension.name
    for dimension in DIMENSIONS
    for spelling in (dimension.name, dimension.official)
}


def dimension_name(spelling: str) -> str:
    """Return our name for a dimension written our way or VideoVerse's way, in any case.

    Raises InputError for an unknown spelling.
    """
    name = _BY_SPELLING.get(spelling.strip().casefold().replace(" ", "_"))
    if name is None:
        raise InputError(f"unknown dimension {spelling!r}; known are {', '.join(OFFICIAL.values())}")
    return name
