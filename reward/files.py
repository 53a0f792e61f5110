"""Files that survive: checked ids and paths, hashes, atomic writes, append-only JSONL that heals a torn tail."""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock

from reward.errors import InputError

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_DEVICES = {"con", "prn", "aux", "nul", *(f"{kind}{i}" for kind in ("com", "lpt") for i in range(1, 10))}


def check_id(identifier: object, where: str) -> str:
    """Return `identifier` if it is safe as a file name on every system, else raise InputError naming `where`."""
    if not isinstance(identifier, str) or not _ID.fullmatch(identifier):
        raise InputError(
            f"{where}: bad id {identifier!r}; ids are 1 to 128 of A-Z a-z 0-9 . _ - and begin with a letter or digit"
        )
    if identifier.split(".")[0].lower() in _DEVICES:
        raise InputError(f"{where}: id {identifier!r} is a device name on Windows; rename it")
    return identifier


def inside(root: Path, relative: str, where: str) -> Path:
    """Return `root / relative`; raise InputError if that leaves `root`, also through a symbolic link."""
    path = Path(relative)
    if path.is_absolute() or "\0" in relative or "://" in relative or "\\" in relative:
        raise InputError(f"{where}: path {relative!r} must be relative to {root}")
    full = root / path
    if not full.resolve().is_relative_to(root.resolve()):
        raise InputError(f"{where}: path {relative!r} leaves the folder {root}")
    return full


def existing(path: Path, what: str) -> Path:
    """Return `path` if it exists, else raise InputError saying which thing is missing."""
    if not path.exists():
        raise InputError(f"{what} {path} does not exist")
    return path


def check_outputs(outputs: Sequence[Path], inputs: Sequence[Path], overwrite: bool) -> None:
    """Refuse, before any work is done, outputs that cannot be written or that would replace something.

    Raises InputError for an output that exists (unless `overwrite`), that is a folder or lies below a file, that is
    one of the inputs, or that is named twice.
    """
    taken = {path.resolve(): "an input of this command" for path in inputs}
    for path in outputs:
        if reason := taken.get(path.resolve()):
            raise InputError(f"output {path} is also {reason}; choose another name")
        taken[path.resolve()] = "another output of this command"
        if path.is_dir():
            raise InputError(f"output {path} is a folder; name a file")
        if path.exists() and not overwrite:
            raise InputError(f"output {path} exists; give --overwrite to replace it or choose another name")
        blocked = next((parent for parent in path.parents if parent.exists() and not parent.is_dir()), None)
        if blocked is not None:
            raise InputError(f"output {path} cannot be written: {blocked} is a file, not a folder")


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """Return the SHA-256 of a JSON value in canonical form (sorted keys, no spaces)."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a whole file, or leave what was there untouched."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically; NaN is refused, a missing value must be None with a reason beside it."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_text(path: Path, what: str) -> str:
    """Return a UTF-8 text file's content; InputError if it is missing, a folder or not text."""
    try:
        return existing(path, what).read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, IsADirectoryError) as error:
        raise InputError(f"{what} {path} is not a UTF-8 text file: {error}") from None


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record: dict[str, Any] = {}
    for key, value in pairs:
        if key in record:
            raise InputError(f"duplicate key {key!r}")
        record[key] = value
    return record


def parse_json(text: str, where: str) -> Any:
    """Parse JSON; a syntax error, a key given twice or half a surrogate pair raises InputError naming `where`."""
    try:
        value = json.loads(text, object_pairs_hook=_refuse_duplicates)
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except UnicodeEncodeError as error:
        raise InputError(f"{where}: holds a character that is no text: {error.reason}") from None
    except RecursionError:
        raise InputError(f"{where}: not valid JSON: nested too deeply") from None
    except ValueError as error:
        raise InputError(f"{where}: not valid JSON: {error}") from None
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def read_json(path: Path, what: str) -> Any:
    """Read a JSON file; every fault is an InputError naming the file."""
    return parse_json(read_text(path, what), str(path))


def read_jsonl(path: Path, what: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number from 1, object) of a JSONL file; blank lines are skipped."""
    for number, line in enumerate(read_text(path, what).split("\n"), start=1):
        if line.strip():
            row = parse_json(line, f"{path}:{number}")
            if not isinstance(row, dict):
                raise InputError(f"{path}:{number}: expected a JSON object, got {type(row).__name__}")
            yield number, row


def dump_line(row: Mapping[str, Any]) -> str:
    """Return a row as one JSON line; NaN is refused."""
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a whole JSONL file atomically."""
    write_atomic(path, "".join(dump_line(row) for row in rows))


def heal_jsonl(path: Path) -> bool:
    """Cut a last line that a crash left half-written; return whether there was one."""
    if not path.exists():
        return False
    content = path.read_bytes()
    if not content or content.endswith(b"\n"):
        return False
    with path.open("rb+") as file:
        file.truncate(content.rfind(b"\n") + 1)
    return True


def append_jsonl(path: Path, row: Mapping[str, Any]) -> None:
    """Append one row in a single write and flush it to the disk."""
    with path.open("ab") as file:
        file.write(dump_line(row).encode())
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Hold the only right to write `path`; InputError if another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise InputError(f"another process is writing {path}; wait for it or choose another --out") from None
    try:
        yield
    finally:
        lock.release()
