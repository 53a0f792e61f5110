"""The label journal: what teachers replied, in one SQLite file that survives a kill at any moment.

One writer at a time, and a rollback journal: unlike a write-ahead log it also works on network disks, and the file
alone is complete once the writer is gone.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from reward.errors import InputError, WorldcriticError

SCHEMA_VERSION = 1
STATES = ("answer", "refusal", "unparsed", "error")

_TABLES = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS labels (
    key TEXT PRIMARY KEY, state TEXT NOT NULL, answer TEXT, p_yes REAL, p_source TEXT, answer_mass REAL,
    raw TEXT, error TEXT, teacher TEXT NOT NULL,
    calls INTEGER NOT NULL, input_tokens INTEGER, output_tokens INTEGER, dollars REAL
);
"""


@dataclass(frozen=True)
class Record:
    """One row of the journal. `teacher` is JSON; `calls`, tokens and dollars add up over repeated attempts."""

    key: str
    state: str
    answer: str | None = None
    p_yes: float | None = None
    p_source: str | None = None
    answer_mass: float | None = None
    raw: str | None = None
    error: str | None = None
    teacher: str = "{}"
    calls: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    dollars: float | None = None


_COLUMNS = tuple(field.name for field in fields(Record))
_ADDED = ("calls", "input_tokens", "output_tokens", "dollars")
_SPENT = f"SELECT {', '.join(f'COALESCE(SUM({name}), 0)' for name in _ADDED)} FROM labels"


@dataclass(frozen=True)
class Spent:
    """What all calls of a journal cost so far."""

    calls: int
    input_tokens: int
    output_tokens: int
    dollars: float


class Journal:
    """An open journal: `with Journal(path, identity) as journal: ...`; it is bound to one teacher's identity.

    Any thread may use it, but only one at a time.

    Raises InputError for a file that is no journal, of another version, or of another teacher; WorldcriticError
    where the disk does not take a write.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with _named(path):
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode=TRUNCATE")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.executescript(_TABLES)
        try:
            self._bind("schema_version", str(SCHEMA_VERSION))
            self._bind("teacher", _canonical(identity))
        except InputError:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._connection.close()

    def record(self, rows: Sequence[Record]) -> None:
        """Write rows in one transaction; a row of the same key is replaced, and its calls and costs are added."""
        added = ", ".join(f"{name} = {_sum(name)}" for name in _ADDED)
        replaced = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS[1:] if name not in _ADDED)
        marks = ", ".join("?" * len(_COLUMNS))
        sql = f"INSERT INTO labels VALUES ({marks}) ON CONFLICT (key) DO UPDATE SET {replaced}, {added}"
        with _named(self.path), self._transaction():
            self._connection.executemany(sql, [astuple(row) for row in rows])

    def states(self) -> dict[str, str]:
        """Return the state of every key."""
        with _named(self.path):
            return dict(self._connection.execute("SELECT key, state FROM labels"))

    def records(self, keys: Iterable[str]) -> Iterator[Record]:
        """Yield the rows that there are under the given keys, in their order."""
        with _named(self.path):
            for key in keys:
                row = self._connection.execute(f"SELECT {', '.join(_COLUMNS)} FROM labels WHERE key = ?", (key,))
                yield from (Record(*found) for found in row)

    def spent(self) -> Spent:
        """Return what the journal's calls cost."""
        with _named(self.path):
            return Spent(*self._connection.execute(_SPENT).fetchone())

    def merge(self, other: Path) -> Counter[str]:
        """Take in another journal's rows; return how many were "new", "known", "better" or "conflicting".

        An answer here stays; one there replaces what is no answer here. Two different answers to one key conflict:
        that here stays. Merging twice changes nothing.
        """
        counts: Counter[str] = Counter()
        taken = []
        with open_to_read(other, self._about("teacher")) as theirs:
            for found in theirs.execute(f"SELECT {', '.join(_COLUMNS)} FROM labels"):
                row = Record(*found)
                ours = next(self.records([row.key]), None)
                what = _compared(ours, row)
                counts[what] += 1
                if what in ("new", "better"):
                    taken.append(row)
        self.record(taken)
        return counts

    def _bind(self, name: str, value: str) -> None:
        known = self._about(name)
        if known is None:
            with _named(self.path):
                self._connection.execute("INSERT INTO about VALUES (?, ?)", (name, value))
        elif known != value:
            raise _other_journal(self.path, name, known, value)

    def _about(self, name: str) -> str | None:
        with _named(self.path):
            row = self._connection.execute("SELECT value FROM about WHERE name = ?", (name,)).fetchone()
        return row and row[0]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._connection.in_transaction:  # SQLite itself rolls back when the disk is full
                self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")


@contextmanager
def open_to_read(path: Path, teacher: str | None) -> Iterator[sqlite3.Connection]:
    """Open a journal that is only read; InputError if it is missing, no journal, or not of the given teacher.

    Its file must be open to writing, so that SQLite can undo what a killed run left half-written.
    """
    if not path.is_file():
        raise InputError(f"journal {path} does not exist")
    with _named(path):
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True)
        try:
            about = dict(connection.execute("SELECT name, value FROM about"))
            for name, value in (("schema_version", str(SCHEMA_VERSION)), ("teacher", teacher)):
                if value is not None and about.get(name) != value:
                    raise _other_journal(path, name, about.get(name, "none"), value)
            yield connection
        finally:
            connection.close()


def known_states(path: Path, identity: Mapping[str, Any]) -> tuple[dict[str, str], Spent]:
    """Return the state of every key of a journal, and what its calls cost, without writing anything."""
    with open_to_read(path, _canonical(identity)) as connection:
        states = dict(connection.execute("SELECT key, state FROM labels"))
        return states, Spent(*connection.execute(_SPENT).fetchone())


def _other_journal(path: Path, name: str, known: str, wanted: str) -> InputError:
    if name == "teacher":
        ours, theirs = json.loads(wanted), json.loads(known) if known != "none" else {}
        differing = [key for key in {**theirs, **ours} if theirs.get(key) != ours.get(key)]
        told = ", ".join(f"{key} {theirs.get(key)!r} instead of {ours.get(key)!r}" for key in differing[:3])
        return InputError(
            f"journal {path} was written by another teacher or with other settings ({told}); "
            "give another --out, or --overwrite"
        )
    return InputError(f"journal {path} has {name} {known}, this program writes {wanted}; give another --out")


def _compared(ours: Record | None, theirs: Record) -> str:
    if ours is None:
        return "new"
    if ours.state == "answer" and theirs.state == "answer":
        same = (ours.answer, ours.p_yes) == (theirs.answer, theirs.p_yes)
        return "known" if same else "conflicting"
    return "better" if theirs.state == "answer" else "known"


def _sum(name: str) -> str:
    """Return SQL for the sum of an old and a new value of which either may be unknown."""
    return f"CASE WHEN {name} IS NULL THEN excluded.{name} ELSE {name} + COALESCE(excluded.{name}, 0) END"


def _canonical(identity: Mapping[str, Any]) -> str:
    return json.dumps(identity, sort_keys=True)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours, naming the file."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise WorldcriticError(f"journal {path} cannot be read or written: {error}") from None
    except sqlite3.DatabaseError as error:
        if type(error) is not sqlite3.DatabaseError:  # its subclasses are our own mistakes, not the file's
            raise
        raise InputError(f"{path} is no journal of labels: {error}") from None
