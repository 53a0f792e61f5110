"""What every cell of the picture shows, and what has become of the things in it: dense targets for a model that learns.

A vision tower that looks at a pair of frames can name what is there now (`cell_words`). What was before, only the
language model behind it can know (`cell_history`): where a thing stood at the beginning, that it has changed its
colour, come up again or is gone, and at which moment it moves.
"""

import math
from collections.abc import Sequence
from types import MappingProxyType

import numpy as np

from toyworld.clips import ToyClip
from toyworld.render import Layers
from toyworld.scene import COLOURS, THINGS, Actor, Array, Move, Pose, pose_at
from toyworld.world import Latents, World

DIRECTION_WORDS = ("left", "right", "up", "down")
NUMBER_WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight")
COLUMNS = 4
"""Columns of the picture that have a word."""
MOMENTS = 8
"""Parts of the clip, and of the picture's width, that have a number in a history."""

CELL_WORDS = (
    *COLOURS,
    *(noun.split()[0] for noun in THINGS),
    *DIRECTION_WORDS,
    "flat",
    "grey",
    *NUMBER_WORDS[:COLUMNS],
    "front",
    "behind",
)
"""What a cell may show: colours, nouns, where the thing in it moves, flattened, unlit, its column, who covers whom."""

TURNS = MappingProxyType(
    {
        "went down": ("down",),
        "came up again": ("down", "up"),
        "came down again": ("up", "down"),
        "was flattened": ("flat",),
        "left a puddle": ("to a puddle",),
        "went through the floor": ("through the floor",),
    }
)
"""What a thing has done that is asked about, and the ways, one after the other, by which one knows it."""

HISTORY = (
    *(f"stood first in eighth {i} of the picture" for i in range(MOMENTS)),
    *(f"began its act in eighth {i} of the clip" for i in range(MOMENTS)),
    *(f"acted last by going {word}" for word in DIRECTION_WORDS),
    "changed colour",
    "gone",
    "passed in front",
    "passed behind",
    *TURNS,
    "came to rest",
)
"""What may have become of the thing in a cell, or of one that stood there."""

SEEN = 0.1
"""A cell shows a thing that covers this share of it."""
PAUSE = 0.01
"""Shortest time between two acts of a thing, as a share of the clip."""
MOVING = 0.012
"""Travel in picture widths from one sampled frame to the next that counts as moving."""


def cell_words(world: World, clip: ToyClip, layers: Layers, frames: Sequence[int], grid: int) -> Array:
    """Return which of CELL_WORDS each cell shows at the sampled `frames`, (frames, grid, grid, words) of 0 and 1."""
    cells = world.cells(layers, grid)[:, list(frames)]
    latents = world.latents(clip.scene, layers)
    out = np.zeros((len(frames), grid, grid, len(CELL_WORDS)))
    columns = [CELL_WORDS.index(NUMBER_WORDS[column * COLUMNS // grid]) for column in range(grid)]
    overlaps = _overlap(clip.scene.actors, latents)
    for index, (actor, share) in enumerate(zip(clip.scene.actors, cells, strict=True)):
        pose = pose_at(actor, world.story_times)
        for k, frame in enumerate(frames):
            shown = share[k] > SEEN
            out[k, :, np.arange(grid), columns] += shown.T
            colour = latents.colour[index, frame]
            words = [actor.noun.split()[0], "grey" if colour < 0 else list(COLOURS)[colour]]
            words += _state(actor, pose, frame, frames[min(k + 1, len(frames) - 1)])
            if index in overlaps and overlaps[index][1][frame]:
                words.append(overlaps[index][0])
            for word in words:
                out[k, :, :, CELL_WORDS.index(word)] += shown
    return np.minimum(out, 1)


def cell_history(world: World, clip: ToyClip, layers: Layers, frames: Sequence[int], grid: int) -> Array:
    """Return which of HISTORY holds for what each cell shows at the sampled `frames`, (frames, grid, grid, HISTORY).

    A thing's last act stays with it when it is over, so that every later cell tells when it began. "gone" stands in the
    cell where the centre of a vanished thing would be, "went through the floor" at the picture's lower edge.
    """
    cells = world.cells(layers, grid)[:, list(frames)]
    latents = world.latents(clip.scene, layers)
    out = np.zeros((len(frames), grid, grid, len(HISTORY)))
    overlaps = _overlap(clip.scene.actors, latents)
    for index, (actor, share) in enumerate(zip(clip.scene.actors, cells, strict=True)):
        pose = pose_at(actor, world.story_times)
        began = int(np.clip(latents.x[index, 0] * MOMENTS, 0, MOMENTS - 1))
        for k, frame in enumerate(frames):
            now = float(world.story_times[frame])
            facts = [began, *_last_act(actor, pose, now, frame)]
            if latents.colour[index, frame] != latents.colour[index, 0]:
                facts.append(HISTORY.index("changed colour"))
            if index in overlaps and overlaps[index][1][: frame + 1].any():
                facts.append(HISTORY.index(f"passed {'in front' if overlaps[index][0] == 'front' else 'behind'}"))
            x, y = latents.x[index, frame], latents.y[index, frame]
            done = ways(actor, now)
            facts += [HISTORY.index(name) for name, turn in TURNS.items() if _contains(done, turn)]
            if "down" in done and not any(move.start <= now < move.end for move in actor.moves):
                facts.append(HISTORY.index("came to rest"))
            out[np.ix_([k], range(grid), range(grid), facts)] += (share[k] > SEEN)[None, :, :, None]
            if "through the floor" in done and y >= 1 and 0 <= x < 1:
                out[k, grid - 1, int(x * grid), HISTORY.index("went through the floor")] = 1
            if now >= actor.vanishes and 0 <= x < 1 and 0 <= y < 1:
                out[k, int(y * grid), int(x * grid), HISTORY.index("gone")] = 1
    return np.minimum(out, 1)


def _last_act(actor: Actor, pose: Pose, now: float, frame: int) -> list[int]:
    """Return the places in HISTORY of when the thing's last act began, and of the way it went.

    Moves without a pause between them are one act, such as a fall and the bounces after it.
    """
    begun = [move for move in actor.moves if move.start <= now]
    if 0 <= actor.lights <= now:
        return [MOMENTS + _moment(actor.lights)]
    if not begun:
        return []
    before = begun[-2] if len(begun) > 1 else actor
    dx, dy = pose.x[frame] - before.x, pose.y[frame] - before.y
    onset = begun[-1].start
    for earlier in reversed(begun[:-1]):
        onset = earlier.start if onset - earlier.end < PAUSE else onset
    facts = [MOMENTS + _moment(onset)]
    if max(abs(dx), abs(dy)) > MOVING:
        way = ("right" if dx > 0 else "left") if abs(dx) > abs(dy) else ("down" if dy > 0 else "up")
        facts.append(HISTORY.index(f"acted last by going {way}"))
    return facts


def ways(actor: Actor, until: float = math.inf) -> list[str]:
    """Return what an actor has begun to do by a story time, one word or phrase for each move."""
    words: list[str] = []
    before: Actor | Move = actor
    for move in actor.moves:
        if move.start > until:
            break
        wider = move.width / max(before.width, 1e-6)
        if move.width == 0:
            words.append("to nothing")
        elif wider > 1.2:
            words.append("to a puddle" if actor.noun == "ice cube" else "flat")
        elif move.y > 1.1:
            words.append("through the floor")
        elif abs(move.x - before.x) > abs(move.y - before.y):
            words.append("right" if move.x > before.x else "left")
        else:
            words.append("down" if move.y > before.y else "up")
        before = move
    return words


def _contains(words: Sequence[str], part: Sequence[str]) -> bool:
    return any(tuple(words[i : i + len(part)]) == tuple(part) for i in range(len(words)))


def moment_word(story_time: float) -> str:
    """Return which eighth of the clip a story time lies in: "one" to "eight"."""
    return NUMBER_WORDS[_moment(story_time)]


def _moment(story_time: float) -> int:
    return int(np.clip(story_time * MOMENTS, 0, MOMENTS - 1))


def _state(actor: Actor, pose: Pose, now: int, then: int) -> list[str]:
    dx, dy = pose.x[then] - pose.x[now], pose.y[then] - pose.y[now]
    words = []
    if max(abs(dx), abs(dy)) > MOVING:
        horizontal = abs(dx) > abs(dy)
        words.append(("right" if dx > 0 else "left") if horizontal else ("down" if dy > 0 else "up"))
    if pose.width[now] > 1.2 * actor.width:
        words.append("flat")
    return words


def _overlap(actors: Sequence[Actor], latents: Latents) -> dict[int, tuple[str, Array]]:
    """Return for a ball that passes a pillar, and for that pillar, the side and when one visibly covers the other."""
    passing = next((index for index, actor in enumerate(actors) if actor.layer), None)
    if passing is None:
        return {}
    pillar = next(index for index, actor in enumerate(actors) if actor.noun == "pillar")
    reach = 0.35 * (latents.width[passing] + latents.width[pillar])
    near = np.abs(latents.x[passing] - latents.x[pillar]) < reach
    behind = actors[passing].layer < 0
    shown = latents.visible[passing]
    when = (shown > 0.1) & (shown < 0.9) & near if behind else near
    return dict.fromkeys((passing, pillar), ("behind" if behind else "front", when))
