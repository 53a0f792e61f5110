"""What a source of pairs gives, and what sources that are files of pairs share."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from reward.errors import InputError
from reward.files import inside, sha256_file, sha256_json
from reward.preference_pairs import PreferencePair, Side

Row = TypeVar("Row")


@dataclass(frozen=True)
class Found:
    """Pairs and ties, how many pairs were looked at, and how often others were not taken, by reason.

    `inputs` are the files that they came from, `facts` go into the report as they are.
    """

    pairs: Sequence[PreferencePair]
    ties: Sequence[PreferencePair]
    num_compared: int
    rejected: Counter[str]
    inputs: Mapping[str, Path]
    facts: Mapping[str, Any] = field(default_factory=dict)


def limited(rows: Iterable[tuple[str, Row, str]], limit: int | None) -> Iterator[tuple[str, Row]]:
    """Yield (where, row) of the first so many prompts of (where, row, prompt)."""
    prompts: set[str] = set()
    for where, row, prompt in rows:
        if prompt in prompts or limit is None or len(prompts) < limit:
            prompts.add(prompt)
            yield where, row


def imported_side(name: str, folder: Path, where: str) -> Side:
    """Return a video named by a file that is read; InputError if it is missing or outside the folder."""
    path = inside(folder, name, where)
    if not path.is_file():
        raise InputError(f"{where}: video {path} does not exist; --videos names the folder that paths are relative to")
    return Side(video=Path(name).as_posix(), path=path, sha256=sha256_file(path))


def fault(pair: PreferencePair, seen: set[tuple[str, frozenset[str]]]) -> str | None:
    """Return why a pair that was read cannot be used, and note it as seen if it can."""
    key = (pair.prompt_id, frozenset((pair.chosen.sha256, pair.rejected.sha256)))
    if len(key[1]) == 1:
        return "both videos have the same content"
    if key in seen:
        return "pair given twice"
    seen.add(key)
    return None


def prompt_id(prompt: str) -> str:
    """Return an id for a prompt that has none, from its text."""
    return f"p{sha256_json(prompt)[:16]}"


def prompt_ids(*pairs: Sequence[PreferencePair]) -> set[str]:
    """Return the prompt ids of pairs."""
    return {pair.prompt_id for each in pairs for pair in each}
