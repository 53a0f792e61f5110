"""Train, validation and test splits that share no prompt, no video, and if wanted no generator.

What belongs together is joined first: prompts of the same id or the same text, and prompts that share the bytes of a
video. Such a group goes to a split by a hash of its name, so that rows added later move no old prompt.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from distill.rows import Row
from reward.errors import InputError

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """Rows by split, and how many were left out because prompt and generator belong to different splits."""

    rows: Mapping[str, list[Row]]
    crossing: int = 0


def split_rows(rows: Sequence[Row], shares: tuple[float, float, float], seed: int, by_generator: bool) -> Split:
    """Return the rows split by prompt, about `shares` (positive or 0, summing to 1) of the prompt groups each.

    With `by_generator` generators are split too, and a row is kept only where its prompt and its generator belong to
    the same split: a tenth of the prompts and a tenth of the generators leave a hundredth of the rows. Raises
    InputError where there are fewer groups than splits, or a row does not name its generator.
    """
    prompt_split = _assigned(_groups(rows), shares, seed, "prompts")
    if not by_generator:
        return _checked(Split({name: [row for row in rows if prompt_split[row.prompt_key] == name] for name in SPLITS}))
    if nameless := next((row for row in rows if not row.generator), None):
        raise InputError(f"a label of {nameless.video_path} names no generator, so rows cannot be split by generator")
    generators = {row.generator or "": row.generator or "" for row in rows}
    generator_split = _assigned(generators, shares, seed, "generators")
    kept = {
        name: [row for row in rows if prompt_split[row.prompt_key] == name == generator_split[row.generator or ""]]
        for name in SPLITS
    }
    crossing = len(rows) - sum(map(len, kept.values()))
    split = _checked(Split(kept, crossing), by_generator=True)
    for name, share in zip(SPLITS, shares, strict=True):
        if share and not kept[name]:
            raise InputError(f"the {name} split is empty: its prompts have no video of its generators; change --seed")
    return split


def check_disjoint(rows: Mapping[str, Sequence[Row]], by_generator: bool) -> None:
    """Raise InputError if a prompt, a prompt's text, a video or (with `by_generator`) a generator is in two splits."""
    kinds = {
        "prompt": lambda row: row.prompt_key,
        "prompt text": lambda row: _plain(row.t2v_prompt),
        "video": lambda row: row.content,
        **({"generator": lambda row: row.generator} if by_generator else {}),
    }
    for kind, key in kinds.items():
        home: dict[object, str] = {}
        for name, each in rows.items():
            for row in each:
                other = home.setdefault(key(row), name)
                if other != name:
                    raise InputError(f"{kind} {key(row)!r} is in the splits {other} and {name}")


def _checked(split: Split, by_generator: bool = False) -> Split:
    check_disjoint(split.rows, by_generator)
    return split


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def _groups(rows: Iterable[Row]) -> dict[str, str]:
    """Return for each prompt key the name of its group: the smallest key of all prompts that belong together."""
    parent: dict[str, str] = {}

    def root(node: str) -> str:
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = node = parent[parent[node]]
        return node

    prompts = set()
    for row in rows:
        prompts.add(row.prompt_key)
        for other in (f"text {_plain(row.t2v_prompt)}", f"video {row.content}"):
            parent[root(other)] = root(f"prompt {row.prompt_key}")
    members: dict[str, list[str]] = {}
    for prompt in prompts:
        members.setdefault(root(f"prompt {prompt}"), []).append(prompt)
    return {prompt: min(group) for group in members.values() for prompt in group}


def _assigned(group_of: Mapping[str, str], shares: tuple[float, float, float], seed: int, what: str) -> dict[str, str]:
    """Return the split of each member; a split that chance leaves empty gets the group with the nearest hash."""
    position = {group: _position(group, seed) for group in set(group_of.values())}
    wanted = [name for name, share in zip(SPLITS, shares, strict=True) if share]
    if len(position) < len(wanted):
        raise InputError(
            f"{len(position)} groups of {what} cannot fill the splits {', '.join(wanted)}: {what} that share a name, a "
            "text or a video stay together; label more of them, or set the share of a split to 0"
        )
    edges = {name: (sum(shares[:i]), sum(shares[: i + 1])) for i, name in enumerate(SPLITS)}
    home = {group: _home(at, edges, wanted) for group, at in position.items()}
    for name in wanted:
        if name not in home.values():
            middle = sum(edges[name]) / 2
            counts = {other: sum(each == other for each in home.values()) for other in wanted}
            spare = [group for group in home if counts[home[group]] > 1]
            home[min(spare, key=lambda group: (abs(position[group] - middle), group))] = name
    return {member: home[group] for member, group in group_of.items()}


def _position(group: str, seed: int) -> float:
    """Return a number in [0, 1) that depends on the group's name and the seed alone."""
    return int.from_bytes(hashlib.sha256(f"{seed} {group}".encode()).digest()[:8]) / 2**64


def _home(position: float, edges: Mapping[str, tuple[float, float]], wanted: Sequence[str]) -> str:
    return next((name for name in wanted if edges[name][0] <= position < edges[name][1]), wanted[-1])
