"""What can be said of a clip beyond Yes and No: open questions with answers, and a description.

A critic that starts from nothing learns no yes/no question before it can name what it sees: an answer is right or
wrong only together with the question. So every latent of the world has a word here, and every yes/no question shares
its wording with an open one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from reward.answers import letters
from toyworld.cells import COLUMNS, NUMBER_WORDS, moment_word, ways
from toyworld.clips import ToyClip
from toyworld.plan import ToyPrompt
from toyworld.questions import CAMERA_DOES
from toyworld.scene import CAMERAS, Actor, camera_at, pose_at
from toyworld.stories import absent_nouns

NOTHING = "not at all"
MISSING = "it is not there"
CAMERA_WORDS = ("still", "left", "right", "in", "out")
"""One word per camera motion, in the order of CAMERAS."""
STAYS = "Does the {} stay in the picture all the time or vanish?"
KEEPS = "Does the {} keep the same colour all the time or change it?"

FATES: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(
            ("ball", "box", "cone"),
            "Does the {} fall down and come to rest on the floor, bounce back up, become flat or fall through it?",
        ),
        "balloon": "Does the {} float up and stay up or come down again?",
        "ice cube": "Does the {} melt and leave a puddle or nothing?",
    }
)
"""Of the things about which one may ask what becomes of them, the open question, in the words of the yes/no ones."""


@dataclass(frozen=True)
class Lesson:
    """An open question and its answer."""

    question: str
    answer: str


def lessons(toy_prompt: ToyPrompt, clip: ToyClip, rng: np.random.Generator) -> list[Lesson]:
    """Return one lesson of every kind that a clip allows, about things drawn by `rng`."""
    actors = clip.scene.actors
    some = actors[int(rng.integers(len(actors)))]
    return [
        Lesson("What does the camera do?", clip.scene.camera),
        Lesson(f"How does the {some.noun} move?", motion(some)),
        *_order_lessons(toy_prompt, clip, rng),
    ]


def binding_lessons(clip: ToyClip) -> list[Lesson]:
    """Return for every thing its colour and its column at the beginning: what is found by looking for its noun."""
    found = []
    for actor in clip.scene.actors:
        column = int(np.clip(picture_x(clip, actor) * COLUMNS, 0, COLUMNS - 1))
        found.append(Lesson(f"Which colour is the {actor.noun}?", colours(actor).split()[0]))
        found.append(Lesson(f"Where is the {actor.noun} at the beginning?", NUMBER_WORDS[column]))
    return found


def absent_lesson(toy_prompt: ToyPrompt, rng: np.random.Generator) -> Lesson:
    """Return a lesson about a thing that is not there, in the words in which one that is there is asked about."""
    missing = absent_nouns(toy_prompt)
    wordings = ("Which colour is the {}?", "Where is the {} at the beginning?", "How does the {} move?", STAYS, KEEPS)
    noun = missing[int(rng.integers(len(missing)))]
    return Lesson(wordings[int(rng.integers(len(wordings)))].format(noun), MISSING)


def timing_lessons(toy_prompt: ToyPrompt, clip: ToyClip) -> list[Lesson]:
    """Return for every asked event in which eighth of the clip it begins."""
    return [
        Lesson(f"When does this begin: {text}", "never" if np.isnan(start) else moment_word(start))
        for text, start in zip(toy_prompt.prompt.events, clip.scene.event_starts, strict=True)
    ]


def hard_lessons(clip: ToyClip, rng: np.random.Generator) -> list[Lesson]:
    """Return the lessons on what is learned last: places, colours that change, things that vanish."""
    actors = clip.scene.actors
    some = actors[int(rng.integers(len(actors)))]
    return [
        Lesson(STAYS.format(some.noun), stay(some)),
        Lesson(KEEPS.format(some.noun), colours(some)),
        *_layout_lessons(clip, rng),
    ]


def strange_lessons(clip: ToyClip) -> list[Lesson]:
    """Return what becomes of the things that change their colour or vanish."""
    actors = clip.scene.actors
    changing = [Lesson(KEEPS.format(each.noun), colours(each)) for each in actors if each.recolours is not None]
    vanishing = [Lesson(STAYS.format(each.noun), stay(each)) for each in actors if np.isfinite(each.vanishes)]
    return changing + vanishing


def fate_lessons(clip: ToyClip) -> list[Lesson]:
    """Return what becomes of each thing that may fall, float up or melt, as long as it does not vanish."""
    there = [actor for actor in clip.scene.actors if actor.noun in FATES and not np.isfinite(actor.vanishes)]
    return [Lesson(FATES[actor.noun].format(actor.noun), fate(actor)) for actor in there]


def depth_lessons(clip: ToyClip) -> list[Lesson]:
    """Return where a clip has a ball and a pillar to pass on which side it passes."""
    actors = clip.scene.actors
    if "pillar" not in (actor.noun for actor in actors) or not any(actor.layer for actor in actors):
        return []
    return [Lesson("Does the ball pass in front of or behind the pillar?", depth(actors))]


def description(toy_prompt: ToyPrompt, clip: ToyClip) -> str:
    """Return what a clip shows, in a few plain sentences."""
    sentences = [f"The {actor.noun} is {colours(actor)}, it moves {motion(actor)}." for actor in clip.scene.actors]
    happened = " then ".join(_happened(toy_prompt, clip)) or "nothing"
    return " ".join([*sentences, f"Events: {happened}", f"The camera {CAMERA_DOES[clip.scene.camera]}."])


def motion(actor: Actor) -> str:
    """Return all that an actor does, move by move: "down up down", "up left", "down flat", "not at all"."""
    return " ".join(ways(actor)) or NOTHING


def colours(actor: Actor) -> str:
    """Return an actor's colours in order: "red", "red then blue", "grey then green"."""
    if actor.lights > 0:
        return f"grey then {actor.colour}" if np.isfinite(actor.lights) else "grey"
    return actor.colour if actor.recolours is None else f"{actor.colour} then {actor.recolours[1]}"


def stay(actor: Actor) -> str:
    """Return whether an actor vanishes."""
    return "it vanishes" if np.isfinite(actor.vanishes) else "all the time"


def depth(actors: Sequence[Actor]) -> str:
    """Return on which side of the pillar the ball passes."""
    ball = next(actor for actor in actors if actor.layer)
    if not ball.moves:
        return NOTHING
    return "in front of it" if ball.layer > 0 else "behind it"


def fate(actor: Actor) -> str:
    """Return what becomes of a thing, in the words of its question in FATES; NOTHING where it does none of that."""
    done = ways(actor)
    if actor.noun == "ice cube":
        return "leave a puddle" if "to a puddle" in done else "nothing" if "to nothing" in done else NOTHING
    if actor.noun == "balloon":
        return NOTHING if "up" not in done else "come down again" if "down" in done[done.index("up") :] else "stay up"
    for way, told in (("through the floor", "fall through it"), ("flat", "become flat")):
        if way in done:
            return told
    if "down" not in done:
        return NOTHING
    return "bounce back up" if "up" in done[done.index("down") :] else "come to rest on the floor"


def _layout_lessons(clip: ToyClip, rng: np.random.Generator) -> list[Lesson]:
    place = {actor.noun: picture_x(clip, actor) for actor in clip.scene.actors}
    nouns = list(place)
    noun = nouns[int(rng.integers(len(nouns)))]
    found = []
    if abs(place[noun] - 0.5) > 0.06:
        side = "left" if place[noun] < 0.5 else "right"
        found.append(Lesson(f"In which half of the picture is the {noun} at the beginning?", side))
    if len(nouns) > 1:
        one, two = (nouns[int(i)] for i in rng.permutation(len(nouns))[:2])
        side = "left" if place[one] < place[two] else "right"
        found.append(Lesson(f"To which side of the {two} is the {one} at the beginning?", side))
        left, right = (one, two) if side == "left" else (two, one)
        asked, answer = ("left", left) if rng.random() < 0.5 else ("right", right)
        found.append(Lesson(f"Which is further to the {asked} at the beginning, the {one} or the {two}?", answer))
        listed = " ".join(sorted(nouns, key=place.__getitem__))
        found.append(Lesson("Which things are there at the beginning, from left to right?", listed))
        found.append(_beside(place, two, "left" if rng.random() < 0.5 else "right"))
    return found


def _beside(place: Mapping[str, float], noun: str, side: str) -> Lesson:
    others = [each for each in sorted(place, key=place.__getitem__) if each != noun]
    there = [each for each in others if (place[each] < place[noun]) == (side == "left")]
    return Lesson(f"What is to the {side} of the {noun} at the beginning?", " ".join(there) or "nothing")


def picture_x(clip: ToyClip, actor: Actor) -> float:
    """Return where a thing is at the beginning, in picture widths from the left."""
    start = np.zeros(1)
    offset, scale = camera_at(clip.scene.camera, start)
    return float((pose_at(actor, start).x - 0.5 - offset)[0] * scale[0] + 0.5)


def _happened(toy_prompt: ToyPrompt, clip: ToyClip) -> list[str]:
    texts = dict(zip(letters(len(toy_prompt.prompt.events)), toy_prompt.prompt.events, strict=True))
    return [texts[letter] for letter in clip.order]


def _order_lessons(toy_prompt: ToyPrompt, clip: ToyClip, rng: np.random.Generator) -> list[Lesson]:
    happened = _happened(toy_prompt, clip)
    found = [
        Lesson("What happens first?", happened[0] if happened else "nothing"),
        Lesson("What happens last?", happened[-1] if happened else "nothing"),
    ]
    if len(happened) > 1:
        later = int(rng.integers(1, len(happened)))
        found.append(Lesson(f"What happens right before this: {happened[later]}", happened[later - 1]))
    return found


assert len(CAMERA_WORDS) == len(CAMERAS)
