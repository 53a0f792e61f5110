"""Every wording of the world beside what measures it: one table, written from by the world and parsed by the oracle."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from types import MappingProxyType

from toyworld import events, judging
from toyworld.scene import CAMERAS, COLOURS, THINGS
from toyworld.stage import DIRECTIONS, Check, Event

SLOT_VALUES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "thing": tuple(THINGS),
        "other": tuple(THINGS),
        "colour": tuple(COLOURS),
        "camera": tuple(CAMERAS),
        "side": ("left", "right"),
        "depth": ("in front of", "behind"),
        "direction": tuple(DIRECTIONS),
    }
)
"""What may stand in each slot of a wording."""

CAMERA_DOES: Mapping[str, str] = {camera: re.sub(r"^(\w+)", r"\1s", camera) for camera in CAMERAS}
"""What the camera is asked to do, as a statement: "pan to the left" -> "pans to the left"."""


def _pattern(wording: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", wording)
    slots = [f"(?P<{slot}>{'|'.join(map(re.escape, SLOT_VALUES[slot]))})" for slot in parts[1::2]]
    literal = [re.escape(part) for part in parts[::2]]
    return re.compile("".join(part for pair in zip(literal, [*slots, ""], strict=True) for part in pair))


@dataclass(frozen=True)
class CheckTemplate:
    """A yes/no question, the sentence by which a prompt asks for it, and the measurement that answers it."""

    dimension: str
    question: str
    statement: str
    measurement: Check

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """What matches the question and its slots."""
        return _pattern(self.question)


@dataclass(frozen=True)
class EventTemplate:
    """An event's sentence and the measurement that finds its start."""

    text: str
    measurement: Event

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """What matches the sentence and its slots."""
        return _pattern(self.text)


CHECKS: Mapping[str, CheckTemplate] = MappingProxyType(
    {
        "falls": CheckTemplate(
            "mechanics", "Does the {thing} fall down?", "The {thing} is pulled down by its weight.", judging.falls_down
        ),
        "rests": CheckTemplate(
            "mechanics",
            "Does the {thing} come to rest on the floor?",
            "The {thing} comes to rest on the floor.",
            judging.rests_on_floor,
        ),
        "pushed": CheckTemplate(
            "interaction",
            "Does the {other} start to move when the {thing} hits it?",
            "The {other} starts to move when the {thing} hits it.",
            judging.is_pushed,
        ),
        "bounces": CheckTemplate(
            "material_properties",
            "Does the {thing} bounce back up after it hits the floor?",
            "The {thing} is made of rubber and bounces back up after it hits the floor.",
            judging.bounces,
        ),
        "flattens": CheckTemplate(
            "material_properties",
            "Does the {thing} become flat when it hits the floor?",
            "The {thing} is made of soft clay and becomes flat when it hits the floor.",
            judging.flattens,
        ),
        "puddle": CheckTemplate(
            "natural_constraints",
            "Does the {thing} leave a puddle when it melts?",
            "The {thing} leaves a puddle when it melts.",
            judging.leaves_puddle,
        ),
        "rises": CheckTemplate(
            "natural_constraints",
            "Does the {thing} float up?",
            "The {thing} is lighter than air and floats up.",
            judging.rises_up,
        ),
        "stays_up": CheckTemplate(
            "natural_constraints",
            "Does the {thing} stay up after it has risen?",
            "The {thing} is lighter than air and stays up after it has risen.",
            judging.stays_up,
        ),
        "camera": CheckTemplate(
            "camera_control", "Does the camera {camera}?", "The camera {camera}.", judging.moves_camera
        ),
        "stays": CheckTemplate(
            "common_sense",
            "Does the {thing} stay in the picture all the time?",
            "The {thing} stays in the picture all the time.",
            judging.stays_in_picture,
        ),
        "keeps_colour": CheckTemplate(
            "common_sense",
            "Does the {thing} keep the same colour all the time?",
            "The {thing} keeps the same colour all the time.",
            judging.keeps_colour,
        ),
        "colour": CheckTemplate(
            "attribution_correctness", "Is the {thing} {colour}?", "The {thing} is {colour}.", judging.has_colour
        ),
        "beside": CheckTemplate(
            "layout_2d",
            "Is the {thing} to the {side} of the {other} at the beginning?",
            "At the beginning the {thing} is to the {side} of the {other}.",
            judging.is_beside,
        ),
        "half": CheckTemplate(
            "layout_2d",
            "Is the {thing} in the {side} half of the picture at the beginning?",
            "At the beginning the {thing} is in the {side} half of the picture.",
            judging.is_in_half,
        ),
        "depth": CheckTemplate(
            "depth_3d",
            "Does the {thing} pass {depth} the {other}?",
            "The {thing} passes {depth} the {other}.",
            judging.passes,
        ),
    }
)
"""All check templates by name."""

EVENTS: Mapping[str, EventTemplate] = MappingProxyType(
    {
        "moves": EventTemplate("The {thing} moves {direction}.", events.moves),
        "falls": EventTemplate("The {thing} falls down.", events.falls),
        "rises": EventTemplate("The {thing} rises.", events.rises),
        "melts": EventTemplate("The {thing} melts.", events.melts),
        "lights": EventTemplate("The {thing} lights up.", events.lights),
        "rolls_into": EventTemplate("The {thing} rolls into the {other}.", events.rolls_into),
        "rolls_past": EventTemplate("The {thing} rolls past the {other}.", events.rolls_past),
    }
)
"""All event templates by name."""


def statement(template: CheckTemplate, slots: Mapping[str, str]) -> str:
    """Return the sentence by which a prompt asks for what the template's question checks."""
    values = dict(slots)
    if "camera" in values:
        values["camera"] = CAMERA_DOES[values["camera"]]
    return template.statement.format(**values)


@lru_cache(maxsize=4096)
def parse_question(question: str) -> tuple[CheckTemplate, dict[str, str]] | None:
    """Return the template and the slots of a question, or None if no template words it."""
    for template in CHECKS.values():
        if match := template.pattern.fullmatch(question.strip()):
            return template, match.groupdict()
    return None


@lru_cache(maxsize=4096)
def parse_event(text: str) -> tuple[EventTemplate, dict[str, str]] | None:
    """Return the template and the slots of an event's sentence, or None if no template words it."""
    for template in EVENTS.values():
        if match := template.pattern.fullmatch(text.strip()):
            return template, match.groupdict()
    return None


_NAMED = re.compile(rf"\b({'|'.join(COLOURS)}) ({'|'.join(map(re.escape, sorted(THINGS, key=len, reverse=True)))})\b")


def asked_colours(prompt_text: str) -> dict[str, str]:
    """Return the colour of every noun that the prompt introduces as "a red ball"; the first mention counts."""
    asked: dict[str, str] = {}
    for colour, noun in _NAMED.findall(prompt_text):
        asked.setdefault(noun, colour)
    return asked
