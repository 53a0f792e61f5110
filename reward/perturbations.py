"""Changes of a clip, or of the prompt beside it, after which an honest critic answers otherwise; and which answers.

Frames are uint8 RGB (T, H, W, 3). Times stay as they are: only what is seen at them changes.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

import numpy as np

from reward.dimensions import NAMES
from reward.prompts import Prompt
from reward.video import Clip

Expectation = Literal["falls", "moves", "stays"]
"""falls: the score goes down on average. moves: it changes, up or down. stays: it hardly changes on any clip."""

REVERSED, FROZEN, SHUFFLED, RECOLOURED = "reversed", "frozen", "shuffled", "recoloured"
OTHER_PROMPT, OTHER_VIDEO = "other prompt", "other video"
HUE_TURN = 1 / 3
"""Of the colour circle: red becomes green, green blue, blue red."""

_MOTION = ("event_following", "mechanics", "interaction", "material_properties", "natural_constraints")
_LOOKS = ("attribution_correctness", "layout_2d", "depth_3d")
_NEEDS_A_THING = tuple(name for name in NAMES if name not in ("camera_control", "common_sense"))

EXPECTED: Mapping[str, Mapping[str, Expectation]] = {
    REVERSED: {
        **dict.fromkeys(_MOTION, "moves"),
        "event_following": "falls",
        "camera_control": "moves",
        "attribution_correctness": "stays",
        "depth_3d": "stays",
    },
    FROZEN: {**dict.fromkeys(_MOTION, "falls"), "camera_control": "moves", **dict.fromkeys(_LOOKS, "stays")},
    SHUFFLED: {**dict.fromkeys(_MOTION, "falls"), "camera_control": "moves", "depth_3d": "stays"},
    RECOLOURED: {"attribution_correctness": "falls", "camera_control": "stays"},
    OTHER_PROMPT: dict.fromkeys(_NEEDS_A_THING, "falls"),
    OTHER_VIDEO: dict.fromkeys(_NEEDS_A_THING, "falls"),
}
"""What is expected of a dimension's score; nothing where the truth may or may not change.

Backwards, things fall up and events come in the wrong order, but some laws look alike both ways, and a layout "at the
beginning" turns into one at the end. A frozen clip shows nothing happen, keeps what things look like, and makes a still
camera right. With other colours "the red ball" is gone, and with it whatever it should have done. A question of another
prompt is about a thing that is not there, but a still camera and common sense need no thing.
"""

_STILL = re.compile(r"\b(still|static|fixed|stationary|steady|stable|stays?|remains?|locked|no|not|without)\b")


def applies(perturbation: str, dimension: str, prompt: Prompt) -> bool:
    """Return whether the expectation of a dimension holds for a prompt.

    A camera that is to stay still does so backwards and frozen too; one event alone may look alike both ways.
    """
    if perturbation not in (REVERSED, FROZEN, SHUFFLED):
        return True
    if dimension == "camera_control":
        asked = [check.question for check in prompt.asked_checks if check.dimension == dimension]
        return not any(_STILL.search(question.casefold()) for question in asked)
    return not (dimension == "event_following" and len(prompt.events) < 2 and perturbation != FROZEN)


def reversed_frames(clip: Clip, generator: np.random.Generator) -> Clip:
    """Return the clip backwards."""
    return replace(clip, frames=clip.frames[::-1].copy())


def frozen_frames(clip: Clip, generator: np.random.Generator) -> Clip:
    """Return a clip that shows its first frame all the time."""
    return replace(clip, frames=np.repeat(clip.frames[:1], len(clip.frames), axis=0))


def shuffled_frames(clip: Clip, generator: np.random.Generator) -> Clip:
    """Return the clip with its frames in another order, no permutation of several frames being the old one."""
    order = generator.permutation(len(clip.frames))
    if np.all(order == np.arange(len(order))):
        order = np.roll(order, 1)
    return replace(clip, frames=clip.frames[order])


def recoloured_frames(clip: Clip, generator: np.random.Generator) -> Clip:
    """Return the clip with all hues turned by a third of the colour circle; brightness (V of HSV) and greys stay."""
    return replace(clip, frames=np.roll(clip.frames, 1, axis=-1))


PERTURBATIONS: Mapping[str, Callable[[Clip, np.random.Generator], Clip]] = {
    REVERSED: reversed_frames,
    FROZEN: frozen_frames,
    SHUFFLED: shuffled_frames,
    RECOLOURED: recoloured_frames,
}


def other_prompts(prompts: Mapping[str, Prompt]) -> dict[str, Prompt]:
    """Return for each of two or more prompts another one: fewest words in common, then most dimensions in common.

    Of equally good ones the next in the order of the file is taken.
    """
    words = {name: _words(prompt) for name, prompt in prompts.items()}
    asked = {name: _dimensions(prompt) for name, prompt in prompts.items()}
    names = list(prompts)
    chosen = {}
    for i, name in enumerate(names):
        others = names[i + 1 :] + names[:i]
        best = min(others, key=lambda other: (len(words[name] & words[other]), -len(asked[name] & asked[other])))
        chosen[name] = prompts[best]
    return chosen


def _words(prompt: Prompt) -> set[str]:
    texts = (prompt.text, *prompt.events, *(check.question for check in prompt.checks))
    return set(re.findall(r"[^\W\d_]{3,}", " ".join(texts).casefold()))


def _dimensions(prompt: Prompt) -> set[str]:
    return {check.dimension for check in prompt.asked_checks} | ({"event_following"} if prompt.events else set())
