"""What a prompt asks for, as data, and the words for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from reward.prompts import Check, Prompt
from toyworld.questions import CHECKS, EVENTS, statement
from toyworld.scene import Camera

Act = Literal["journey", "drop", "bounce", "squash", "rise", "melt", "light", "stand", "push", "pass"]
Story = Literal["journey", "solo", "duo", "trio", "stage", "journey_and_one", "stage_and_one"]


@dataclass(frozen=True)
class Part:
    """One act of the story. `centre`: its place, x in the picture. `step`: how far its moves go.

    `heading`: +1 where the mover of a push or pass starts on the left. `directions`: of a journey's moves.
    """

    act: Act
    nouns: tuple[str, ...]
    centre: float
    step: float = 0.0
    heading: int = 1
    directions: tuple[str, ...] = ()
    depth: str = "in front of"


@dataclass(frozen=True)
class Event:
    """An asked event: the part that plays it, its number among the part's own, and its wording."""

    part: int
    number: int
    template: str
    slots: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Question:
    """An asked check: its template, its slots, and the part that decides it (-1: the whole picture)."""

    template: str
    slots: Mapping[str, str]
    part: int = -1


@dataclass(frozen=True)
class Plan:
    """All that a prompt asks for. `colours`: by noun."""

    story: Story
    parts: tuple[Part, ...]
    colours: Mapping[str, str]
    camera: Camera
    cameras: tuple[Camera, ...]
    events: tuple[Event, ...]
    questions: tuple[Question, ...]


@dataclass(frozen=True)
class ToyPrompt:
    """A prompt in VideoVerse's form beside the plan that it words."""

    prompt: Prompt
    plan: Plan


def word(plan: Plan, identifier: str) -> Prompt:
    """Return the prompt that asks for a plan, in VideoVerse's form."""
    events = tuple(EVENTS[event.template].text.format(**event.slots) for event in plan.events)
    checks = tuple(
        Check(CHECKS[question.template].dimension, CHECKS[question.template].question.format(**question.slots))
        for question in plan.questions
    )
    return Prompt(identifier, _text(plan, events), events, checks)


def _text(plan: Plan, events: Sequence[str]) -> str:
    things = [f"a {plan.colours[noun]} {noun}" for part in plan.parts for noun in part.nouns]
    clauses = [text[0].lower() + text[1:-1] for text in events]
    if len(things) == len(events) == 1:
        opening = [f"A {things[0][2:]}{events[0].removeprefix(f'The {plan.parts[0].nouns[0]}')}"]
    else:
        listed = things[0] if len(things) == 1 else f"{', '.join(things[:-1])} and {things[-1]}"
        told = f"First {clauses[0]}, {', '.join(f'then {clause}' for clause in clauses[1:])}."
        opening = [f"We see {listed}.", told if len(events) > 1 else events[0]]
    asked = [question for question in plan.questions if question.template not in ("colour", "falls")]
    return " ".join(opening + [statement(CHECKS[question.template], question.slots) for question in asked])
