"""Further yes/no questions about a clip, beside its prompt's own: what is seldom asked, and near misses.

A prompt asks a question or two about each clip, and some wordings seldom: a critic would learn to guess there, or to
say Yes to whatever is worded like something that it knows.
"""

from types import MappingProxyType

import numpy as np

from reward.prompts import Check
from toyworld.clips import ToyClip
from toyworld.lessons import picture_x
from toyworld.plan import ToyPrompt
from toyworld.questions import CHECKS, SLOT_VALUES, parse_question
from toyworld.scene import GREY_AT_FIRST
from toyworld.stories import absent_nouns

_FALLING = ("falls", "rests", "bounces", "flattens")
ABOUT = MappingProxyType(
    {"ball": _FALLING, "box": _FALLING, "cone": _FALLING[:2], "balloon": ("rises", "stays_up"), "ice cube": ("puddle",)}
)
"""Names of the checks that one may well ask about a thing that moves."""
ABOUT_ANY = ("stays", "keeps_colour")
"""Names of the checks that one may ask about any thing."""
THING_CHECKS = 3
"""Further yes/no questions about the things of a clip."""
NEAR_MISS = 0.4
"""Share of a prompt's own questions that are asked once more about a thing that is not there."""


def layout_checks(clip: ToyClip, rng: np.random.Generator) -> list[tuple[Check, bool]]:
    """Return yes/no questions on who is beside whom, with their truth, for clips of several things with a colour."""
    actors = [actor for actor in clip.scene.actors if actor.noun not in GREY_AT_FIRST]
    place = {actor.noun: picture_x(clip, actor) for actor in actors}
    found = []
    for _ in range(2 if len(place) > 1 else 0):
        one, two = (list(place)[int(i)] for i in rng.permutation(len(place))[:2])
        side = ("left", "right")[int(rng.integers(2))]
        question = CHECKS["beside"].question.format(thing=one, other=two, side=side)
        found.append((Check("layout_2d", question), (place[one] < place[two]) == (side == "left")))
    return found


def colour_checks(clip: ToyClip, rng: np.random.Generator) -> list[tuple[Check, bool]]:
    """Return yes/no questions on one thing's colour: its own, and where there is one another thing's."""
    actors = [actor for actor in clip.scene.actors if actor.noun not in GREY_AT_FIRST and actor.recolours is None]
    if not actors:
        return []
    some = actors[int(rng.integers(len(actors)))]
    asked = {some.colour: True} | {actor.colour: False for actor in actors if actor.colour != some.colour}
    words = CHECKS["colour"]
    return [
        (Check(words.dimension, words.question.format(thing=some.noun, colour=colour)), yes)
        for colour, yes in list(asked.items())[:2]
    ]


def thing_checks(clip: ToyClip, rng: np.random.Generator) -> list[Check]:
    """Return some yes/no questions about the clip's things, of those that one may well ask about such a thing.

    Whether things stay and keep their colour is asked only where one does not, and the rest only of what moves:
    elsewhere the answer would always be the same.
    """
    strange = any(actor.recolours is not None or np.isfinite(actor.vanishes) for actor in clip.scene.actors)
    any_thing = ABOUT_ANY if strange else ()
    asked = [(name, each.noun) for each in clip.scene.actors for name in any_thing]
    asked += [(name, each.noun) for each in clip.scene.actors if each.moves for name in ABOUT.get(each.noun, ())]
    some = [asked[int(index)] for index in rng.permutation(len(asked))[:THING_CHECKS]]
    return [Check(CHECKS[name].dimension, CHECKS[name].question.format(thing=noun)) for name, noun in some]


def near_misses(toy_prompt: ToyPrompt, rng: np.random.Generator) -> list[Check]:
    """Return the prompt's own yes/no questions with one word changed: the other depth, or a thing that is not there."""
    missing = absent_nouns(toy_prompt)
    found = []
    for check in toy_prompt.prompt.checks:
        parsed = parse_question(check.question)
        if parsed is None or "thing" not in parsed[1]:
            continue
        template, slots = parsed
        if "depth" in slots:
            other = next(depth for depth in SLOT_VALUES["depth"] if depth != slots["depth"])
            found.append(Check(template.dimension, template.question.format(**slots | {"depth": other})))
        if rng.random() < NEAR_MISS:
            noun = missing[int(rng.integers(len(missing)))]
            found.append(Check(template.dimension, template.question.format(**slots | {"thing": noun})))
    return found
