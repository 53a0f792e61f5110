"""Draw prompts: which things there are, what they do where and in which order, and what is asked about them."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import get_args

import numpy as np

from reward.errors import InputError
from reward.prompts import Check
from toyworld.plan import Act, Event, Part, Plan, Question, Story, ToyPrompt, word
from toyworld.questions import CHECKS, SLOT_VALUES, asked_colours
from toyworld.scene import CAMERAS, COLOURS, THINGS, Camera
from toyworld.stage import DIRECTIONS

STORIES: tuple[Story, ...] = get_args(Story)
STORY_WEIGHTS = (0.2, 0.13, 0.17, 0.1, 0.15, 0.08, 0.17)
"""How often each story is told, in the order of STORIES."""

NOUNS: Mapping[Act, tuple[str, ...]] = MappingProxyType(
    {
        "journey": ("ball", "box", "cone"),
        "drop": ("ball", "box", "cone"),
        "bounce": ("ball", "box"),
        "squash": ("ball", "box"),
        "rise": ("balloon",),
        "melt": ("ice cube",),
        "light": ("lamp",),
        "stand": ("tree", "pillar"),
        "push": ("ball",),
        "pass": ("ball",),
    }
)
"""Who may play an act."""

SECOND_NOUN: Mapping[Act, str] = MappingProxyType({"push": "box", "pass": "pillar"})
"""The other thing in an act of two."""

OWN_CHECK: Mapping[Act, str] = MappingProxyType(
    {
        "drop": "rests",
        "bounce": "bounces",
        "squash": "flattens",
        "rise": "stays_up",
        "melt": "puddle",
        "push": "pushed",
        "pass": "depth",
        "stand": "stays",
    }
)
"""The check that an act brings with it."""

EVENT_OF: Mapping[Act, str] = MappingProxyType(
    {
        "journey": "moves",
        "drop": "falls",
        "bounce": "falls",
        "squash": "falls",
        "rise": "rises",
        "melt": "melts",
        "light": "lights",
        "push": "rolls_into",
        "pass": "rolls_past",
    }
)
"""The event that an act is."""

SINGLE_ACTS: tuple[Act, ...] = ("drop", "bounce", "squash", "rise", "melt", "light")


def sample_prompt(
    rng: np.random.Generator, identifier: str, story: Story | None = None, camera: Camera | None = None
) -> ToyPrompt:
    """Draw a prompt. `story` fixes how many things there are and how rich it is, else one is drawn by weight.

    `camera` fixes what the camera is asked to do, else it is drawn. Raises InputError for a pan in "stage_and_one",
    which fills the picture and would leave it.
    """
    if story is None:
        story = STORIES[int(rng.choice(len(STORIES), p=STORY_WEIGHTS))]
    parts = _parts(rng, story)
    nouns = [noun for part in parts for noun in part.nouns]
    colours = dict(zip(nouns, (str(name) for name in rng.permutation(list(COLOURS))), strict=False))
    cameras = tuple(camera for camera in CAMERAS if story != "stage_and_one" or not camera.startswith("pan"))
    if camera is not None and camera not in cameras:
        raise InputError(f"camera {camera!r} is not one of {', '.join(cameras)} in the story {story!r}")
    drawn = cameras[0] if rng.random() < 0.3 else cameras[int(rng.integers(1, len(cameras)))]
    camera = drawn if camera is None else camera
    events = _events(rng, parts)
    plan = Plan(story, parts, colours, camera, cameras, events, ())
    plan = Plan(story, parts, colours, camera, cameras, events, _questions(rng, plan))
    return ToyPrompt(word(plan, identifier), plan)


def absent_nouns(toy_prompt: ToyPrompt) -> list[str]:
    """Return the nouns that the prompt does not name."""
    named = asked_colours(toy_prompt.prompt.text)
    return [noun for noun in THINGS if noun not in named]


def absent_check(rng: np.random.Generator, toy_prompt: ToyPrompt) -> Check:
    """Draw a question about a noun that the prompt does not name; its answer is No in every clip of the prompt."""
    missing = absent_nouns(toy_prompt)
    names = [name for name, template in CHECKS.items() if "{thing}" in template.question]
    template = CHECKS[names[int(rng.integers(len(names)))]]
    slots = {slot: values[int(rng.integers(len(values)))] for slot, values in SLOT_VALUES.items()}
    thing, other = (missing[int(i)] for i in rng.permutation(len(missing))[:2])
    return Check(template.dimension, template.question.format(**(slots | {"thing": thing, "other": other})))


def _parts(rng: np.random.Generator, story: Story) -> tuple[Part, ...]:
    """Draw who does what and where."""
    if story == "solo":
        return (_single(rng, SINGLE_ACTS, rng.choice([0.27, 0.73]), []),)
    if story in ("duo", "trio"):
        parts: list[Part] = []
        for centre in (0.26, 0.74) if story == "duo" else (0.2, 0.5, 0.8):
            used = [noun for part in parts for noun in part.nouns]
            acts: tuple[Act, ...] = SINGLE_ACTS if not parts or rng.random() < 0.75 else ("stand",)
            parts.append(_single(rng, acts, centre, used))
        return tuple(parts[int(i)] for i in rng.permutation(len(parts)))
    alone = story in ("journey", "stage")
    side = 1 if rng.random() < 0.5 else -1
    wide = _wide(rng, story, 0.5 if alone else 0.5 - 0.13 * side, 0.26 if alone else 0.2)
    if alone:
        return (wide,)
    beside: tuple[Act, ...] = ("stand",) if rng.random() < 0.35 else SINGLE_ACTS
    return (wide, _single(rng, beside, 0.5 + 0.31 * side, wide.nouns))


def _single(rng: np.random.Generator, acts: Sequence[Act], centre: float, used: Sequence[str]) -> Part:
    free = [(act, noun) for act in acts for noun in NOUNS[act] if noun not in used]
    names = sorted({act for act, _ in free}, key=list(acts).index)
    act = names[int(rng.integers(len(names)))]
    nouns = [noun for candidate, noun in free if candidate == act]
    return Part(act, (nouns[int(rng.integers(len(nouns)))],), float(centre))


def _wide(rng: np.random.Generator, story: Story, centre: float, step: float) -> Part:
    heading = 1 if rng.random() < 0.5 else -1
    if story in ("stage", "stage_and_one"):
        act: Act = "push" if rng.random() < 0.5 else "pass"
        depth = SLOT_VALUES["depth"][int(rng.integers(2))]
        return Part(act, (*NOUNS[act], SECOND_NOUN[act]), centre, step, heading, depth=depth)
    count = int(rng.choice([1, 2, 3, 4], p=(0.4, 0.4, 0.14, 0.06))) if story == "journey" else int(rng.integers(1, 3))
    directions = tuple(str(name) for name in rng.permutation(list(DIRECTIONS))[:count])
    noun = NOUNS["journey"][int(rng.integers(len(NOUNS["journey"])))]
    return Part("journey", (noun,), centre, step, heading, directions)


def _events(rng: np.random.Generator, parts: Sequence[Part]) -> tuple[Event, ...]:
    """Draw the asked order; a journey's own moves keep theirs, other acts fall anywhere between."""
    queues = []
    for index, part in enumerate(parts):
        if part.act not in EVENT_OF:
            continue
        slots = {"thing": part.nouns[0]} | ({"other": part.nouns[1]} if len(part.nouns) > 1 else {})
        moves = [slots | {"direction": direction} for direction in part.directions] or [slots]
        queues.append([Event(index, number, EVENT_OF[part.act], move) for number, move in enumerate(moves)])
    order = rng.permutation([index for index, queue in enumerate(queues) for _ in queue])
    return tuple(queues[int(index)].pop(0) for index in order)


def _questions(rng: np.random.Generator, plan: Plan) -> tuple[Question, ...]:
    questions = []
    for index, part in enumerate(plan.parts):
        if part.act in OWN_CHECK:
            name = OWN_CHECK[part.act]
            if len(plan.events) == 1 and part.act in ("drop", "rise") and rng.random() < 0.5:
                name = {"drop": "falls", "rise": "rises"}[part.act]
            slots = {"thing": part.nouns[0]} | ({"other": part.nouns[1]} if len(part.nouns) > 1 else {})
            questions.append(Question(name, slots | ({"depth": part.depth} if name == "depth" else {}), index))
    questions += _colour_question(rng, plan) + _layout_question(rng, plan)
    questions.append(Question("camera", {"camera": plan.camera}))
    return tuple(questions)


def _colour_question(rng: np.random.Generator, plan: Plan) -> list[Question]:
    """Ask about one thing's colour, or whether it keeps it; never both, so that a strange colour has one owner."""
    keeps = [
        part.nouns[0] for part in plan.parts if part.act in ("journey", "bounce", "squash", "rise", "push", "pass")
    ]
    if keeps and not any(part.act == "stand" for part in plan.parts) and rng.random() < 0.35:
        return [Question("keeps_colour", {"thing": keeps[int(rng.integers(len(keeps)))]})]
    nouns = [noun for noun in plan.colours if noun != "lamp"]
    if not nouns:
        return []
    noun = nouns[int(rng.integers(len(nouns)))]
    return [Question("colour", {"thing": noun, "colour": plan.colours[noun]})]


def _layout_question(rng: np.random.Generator, plan: Plan) -> list[Question]:
    """Ask on which side a thing is: of another one, or of the picture where it is alone and does not move sideways."""
    places = {}
    for part in plan.parts:
        for index, noun in enumerate(part.nouns):
            mover = part.act in ("push", "pass") and index == 0
            places[noun] = part.centre - (0.15 * part.heading if mover else 0)
    places.pop("lamp", None)
    if len(places) >= 2:
        thing, other = (list(places)[int(i)] for i in rng.permutation(len(places))[:2])
        side = "left" if places[thing] < places[other] else "right"
        return [Question("beside", {"thing": thing, "other": other, "side": side})]
    if plan.story != "solo" or not places:
        return []
    thing, place = next(iter(places.items()))
    return [Question("half", {"thing": thing, "side": "left" if place < 0.5 else "right"})]
