"""The repertoire of the tiny generator: every prompt that it knows, and which of them no alignment may use.

Scenes with one thing or two, a camera that stays still, four colours. Six kinds: a ball that makes one move or two,
a box that falls, a balloon that rises, a ball that bounces, and a box beside a balloon with an asked order of events.

    python -m toyworld.repertoire --out prompts

writes prompts-train.json and prompts-heldout.json in VideoVerse's form.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import permutations, product
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args

from reward.errors import InputError
from reward.files import check_outputs, write_json
from toyworld.plan import Act, Event, Part, Plan, Question, ToyPrompt, word
from toyworld.scene import COLOURS, Camera
from toyworld.stage import DIRECTIONS
from toyworld.stories import EVENT_OF, OWN_CHECK
from toyworld.world import World

WORLD = World(size=32, frames=9)
"""How the generator's clips are drawn: 9 frames of 32x32 pixels."""

Kind = Literal["move", "two_moves", "drop", "rise", "bounce", "duo"]
Split = Literal["train", "heldout"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Known:
    """A prompt that the generator knows, its kind of scene, and whether alignment may train on it."""

    kind: Kind
    split: Split
    toy_prompt: ToyPrompt

    @property
    def id(self) -> str:
        """The prompt's id."""
        return self.toy_prompt.prompt.id

    @property
    def text(self) -> str:
        """What the generator is given."""
        return self.toy_prompt.prompt.text


STILL: Camera = "stay still"
_WAYS = {way.removeprefix("to the "): way for way in DIRECTIONS}
_SIDES = {"left": 0.27, "right": 0.73}
_SOLO: Mapping[str, tuple[Act, str, str]] = MappingProxyType(
    {
        "drop": ("drop", "box", "falls down and comes to rest"),
        "rise": ("rise", "balloon", "rises and stays up"),
        "bounce": ("bounce", "ball", "falls down and bounces"),
    }
)
"""Act, noun and wording of the kinds with one thing on one side of the picture."""


@lru_cache(maxsize=1)
def repertoire() -> tuple[Known, ...]:
    """Return every prompt that the generator knows, always in the same order.

    One in four of each kind is held out, by its place in the table of colours and motions: alignment sees every colour,
    motion, side and order, but not these combinations of them.
    """
    turns = [pair for pair in permutations(_WAYS, 2) if _is_turn(pair)]
    known = []
    for (c, colour), (m, ways) in product(enumerate(COLOURS), enumerate([*((way,) for way in _WAYS), *turns])):
        known.append(_known("move" if len(ways) == 1 else "two_moves", c + m, _journey(colour, ways)))
    for (k, name), (c, colour), (s, side) in product(enumerate(_SOLO), enumerate(COLOURS), enumerate(_SIDES)):
        known.append(_known(name, c + 2 * s + k, _solo(name, colour, side)))
    pairs = list(permutations(COLOURS, 2))
    for (p, pair), (s, side), (f, first) in product(enumerate(pairs), enumerate(_SIDES), enumerate(("box", "balloon"))):
        known.append(_known("duo", p + 2 * s + f, _duo(pair, side, first, asked=("box", "balloon")[(p + s) % 2])))
    return tuple(sorted(known, key=lambda each: KINDS.index(each.kind)))


def split(name: Split) -> tuple[Known, ...]:
    """Return the prompts that alignment may train on ("train"), or those kept from it ("heldout")."""
    return tuple(known for known in repertoire() if known.split == name)


def find(prompt_id: str) -> Known:
    """Return the prompt with an id; raises InputError where the generator knows none."""
    for known in repertoire():
        if known.id == prompt_id:
            return known
    raise InputError(f"the toy generator knows no prompt {prompt_id!r}; `python -m toyworld.repertoire` lists them")


def _known(kind: str, place: int, toy_prompt: ToyPrompt) -> Known:
    (literal,) = (name for name in KINDS if name == kind)
    return Known(literal, "train" if place % 4 else "heldout", toy_prompt)


def _is_turn(pair: Sequence[str]) -> bool:
    """Whether two moves go along different axes."""
    axes = [DIRECTIONS[_WAYS[way]][0] for way in pair]
    return axes[0] != axes[1]


def _journey(colour: str, ways: Sequence[str]) -> ToyPrompt:
    """One ball that moves once or twice from the middle of the picture."""
    directions = tuple(_WAYS[way] for way in ways)
    part = Part("journey", ("ball",), 0.5, 0.26, directions=directions)
    events = tuple(Event(0, i, "moves", {"thing": "ball", "direction": way}) for i, way in enumerate(directions))
    moves = f"moves {directions[0]}" if len(ways) == 1 else f"first moves {directions[0]}, then moves {directions[1]}"
    kind = "move" if len(ways) == 1 else "two_moves"
    name = "-".join((kind, colour, *ways))
    plan = Plan("journey", (part,), {"ball": colour}, STILL, (STILL,), events, ())
    return _toy_prompt(name, f"A {colour} ball {moves}.", plan, "ball")


def _solo(kind: str, colour: str, side: str) -> ToyPrompt:
    """One thing on one side of the picture."""
    act, noun, wording = _SOLO[kind]
    part = Part(act, (noun,), _SIDES[side])
    asked = (Question(OWN_CHECK[act], {"thing": noun}, 0), Question("half", {"thing": noun, "side": side}))
    text = f"On the {side} a {colour} {noun} {wording}."
    events = (Event(0, 0, EVENT_OF[act], {"thing": noun}),)
    plan = Plan("solo", (part,), {noun: colour}, STILL, (STILL,), events, asked)
    return _toy_prompt(f"{kind}-{colour}-{side}", text, plan, noun)


def _duo(pair: Sequence[str], side: str, first: str, asked: str) -> ToyPrompt:
    """A box that falls and a balloon that rises, side by side, in an asked order; one colour is asked about."""
    other = "right" if side == "left" else "left"
    colours = dict(zip(("box", "balloon"), pair, strict=True))
    parts = (Part("drop", ("box",), _SIDES[side]), Part("rise", ("balloon",), _SIDES[other]))
    events = (Event(0, 0, "falls", {"thing": "box"}), Event(1, 0, "rises", {"thing": "balloon"}))
    told = ("the box falls down", "the balloon rises")
    if first == "balloon":
        events, told = events[::-1], told[::-1]
    placed = {side: f"a {pair[0]} box", other: f"a {pair[1]} balloon"}
    text = f"On the left {placed['left']}, on the right {placed['right']}: first {told[0]}, then {told[1]}."
    questions = (
        Question("rests", {"thing": "box"}, 0),
        Question("stays_up", {"thing": "balloon"}, 1),
        Question("beside", {"thing": "box", "other": "balloon", "side": side}),
    )
    name = f"duo-{pair[0]}-{pair[1]}-{side}-{first}_first"
    return _toy_prompt(name, text, Plan("duo", parts, colours, STILL, (STILL,), events, questions), asked)


def _toy_prompt(identifier: str, text: str, plan: Plan, asked: str) -> ToyPrompt:
    """Return a plan's prompt in our own, shorter words; the colour of `asked` is asked about as well."""
    colour = Question("colour", {"thing": asked, "colour": plan.colours[asked]})
    plan = replace(plan, questions=(*plan.questions, colour))
    return ToyPrompt(replace(word(plan, identifier), text=text), plan)


def write_splits(out: Path, overwrite: bool = False) -> tuple[Path, ...]:
    """Write prompts-train.json and prompts-heldout.json to a folder and return their paths."""
    paths = {name: out / f"prompts-{name}.json" for name in get_args(Split)}
    check_outputs(list(paths.values()), [], overwrite)
    for name, path in paths.items():
        write_json(path, {known.id: known.toy_prompt.prompt.to_videoverse() for known in split(name)})
    return tuple(paths.values())


def main(out: Path, overwrite: bool = False) -> None:
    """Write the prompt files.

    Args:
        out: Folder for prompts-train.json and prompts-heldout.json.
        overwrite: Replace files of these names.
    """
    for path in write_splits(out, overwrite):
        print(path)


if __name__ == "__main__":
    import tyro

    tyro.cli(main, description=__doc__, use_underscores=True)
