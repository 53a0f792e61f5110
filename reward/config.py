"""One frozen dataclass per verb, filled by a YAML file, then by the command line, and saved beside the results.

`@config` makes such a dataclass. pydantic checks keys, types and ranges wherever a value came from, so that a wrong
one fails before anything is loaded or written.
"""

import dataclasses
import importlib.metadata
import platform
import subprocess
import sys
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, dataclass_transform

import yaml

from reward.errors import InputError
from reward.files import read_text, sha256_file, write_json

ConfigType = TypeVar("ConfigType")

_PACKAGES = ("worldcritic", "torch", "transformers", "peft", "trl", "diffusers", "accelerate", "numpy", "av", "decord")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def config(cls: type[ConfigType]) -> type[ConfigType]:
    """Make a class a frozen keyword-only dataclass that pydantic checks strictly: an unknown key is an error."""
    cls.__pydantic_config__ = {"extra": "forbid", "revalidate_instances": "always"}  # type: ignore[attr-defined]
    return dataclasses.dataclass(frozen=True, kw_only=True)(cls)


def parse(
    config_class: type[ConfigType],
    arguments: Sequence[str],
    verb: str,
    description: str,
    program: str = "worldcritic",
) -> ConfigType:
    """Return the verb's config from `--config FILE.yaml` and the command line laid over it.

    `program` and `verb` are how its help calls the command.
    Raises InputError naming the key for an unknown key, a wrong type or a wrong choice; a wrong command line prints
    what was wrong and leaves with exit code 2, `--help` with 0.
    """
    import tyro

    arguments, path = _take_config_path(arguments)
    default = None
    if path is not None:
        values = _checked(config_class, _read_yaml(path), str(path))
        default = config_class(**dict.fromkeys(_required(config_class), tyro.MISSING) | values)
    parsed = tyro.cli(
        config_class,
        prog=f"{program} {verb}",
        description=f"{description}\n\n--config FILE.yaml sets any option below; the command line wins over it.",
        args=arguments,
        default=default,
        use_underscores=True,
    )
    return config_class(**_checked(config_class, vars(parsed), "command line"))


def load_yaml(config_class: type[ConfigType], path: Path) -> ConfigType:
    """Return a config from a YAML file alone; a required option that it leaves out is an error naming the key."""
    values = _checked(config_class, _read_yaml(path), str(path))
    if missing := [name for name in _required(config_class) if name not in values]:
        raise InputError(f"{path}: required key missing: {', '.join(missing)}")
    return config_class(**values)


def save_run(config: Any, out: Path, inputs: Mapping[str, Path], **facts: Any) -> None:
    """Write `<out>.run.json`: the resolved config, versions, git commit, input hashes and any further facts."""
    record = {
        "config": dataclasses.asdict(config),
        "command": sys.argv,
        "versions": {"python": platform.python_version(), **_versions()},
        "git_commit": _git_commit(),
        "inputs": {name: {"path": path, "sha256": sha256_file(path)} for name, path in inputs.items()},
        **facts,
    }
    write_json(out.with_name(out.name + ".run.json"), _plain(record))


def _take_config_path(arguments: Sequence[str]) -> tuple[list[str], Path | None]:
    rest, path = [], None
    remaining = iter(arguments)
    for argument in remaining:
        if argument == "--config":
            value = next(remaining, None)
            if value is None:
                raise InputError("--config needs a file: --config FILE.yaml")
            path = Path(value)
        elif argument.startswith("--config="):
            path = Path(argument.removeprefix("--config="))
        else:
            rest.append(argument)
    return rest, path


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(read_text(path, "config file"))
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict | None):
        raise InputError(f"{path}: expected `key: value` lines, got {type(values).__name__}")
    return values or {}


def _required(config_class: type) -> list[str]:
    return [
        field.name
        for field in dataclasses.fields(config_class)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]


def _checked(config_class: type, values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the given values in their declared types; unknown keys and wrong values are errors naming the key."""
    import pydantic

    hints = typing.get_type_hints(config_class, include_extras=True)
    if unknown := [key for key in values if key not in hints]:
        raise InputError(f"{where}: unknown key {', '.join(map(repr, unknown))}; known are {', '.join(hints)}")
    checked = {}
    for key, value in values.items():
        try:
            checked[key] = pydantic.TypeAdapter(hints[key]).validate_python(value)
        except pydantic.ValidationError as error:
            fault = error.errors()[0]
            name = ".".join([key, *(str(part) for part in fault["loc"] if isinstance(part, str) and part.islower())])
            raise InputError(f"{where}: key {name!r}: {fault['msg']} (got {fault['input']!r})") from None
    return checked


def _versions() -> dict[str, str]:
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _git_commit() -> str | None:
    """Return the commit of the checkout that this code runs from, or None where it runs from no checkout."""
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():
        return None
    command = ["git", "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
