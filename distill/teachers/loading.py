"""Finding a teacher by what `--teacher` says: NAME or NAME:ARGUMENT.

A package offers a teacher under a short name by an entry point in the group "worldcritic.teachers" that points to a
callable taking (argument, prompt file, video readers) and returning a Teacher; `truth` and `oracle` of the toy world
are such names.
"""

from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

from distill.teachers.options import TeacherOptions
from reward.errors import InputError
from reward.teacher import Teacher
from reward.video import VideoReaders

ENTRY_POINTS = "worldcritic.teachers"


def load_teacher(spec: str, options: TeacherOptions, prompts: Path, readers: VideoReaders) -> Teacher:
    """Return the teacher that `spec` names, such as "openai:MODEL", "gemini:MODEL", "local:CRITIC", "replay:FILE".

    `readers` decode its videos. Raises InputError for an unknown name, a missing key or a missing package.
    """
    name, _, argument = spec.partition(":")
    if name in _BUILT_IN:
        try:
            return _BUILT_IN[name](argument, options, readers)
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] not in ("openai", "google"):
                raise
            raise InputError(
                f"--teacher {name} needs a package that is not installed: {error.name}; "
                "pip install 'worldcritic[teacher]'"
            ) from None
    for entry_point in entry_points(group=ENTRY_POINTS, name=name):
        teacher: Teacher = entry_point.load()(argument, prompts, readers)
        return teacher
    known = ", ".join([*_BUILT_IN, *sorted(entry_points(group=ENTRY_POINTS).names)])
    raise InputError(f"unknown teacher {spec!r}; teachers are {known}, with an argument behind a colon: openai:MODEL")


def _openai(argument: str, options: TeacherOptions, readers: VideoReaders) -> Teacher:
    from distill.teachers.openai_compatible import OpenAICompatible

    return OpenAICompatible(argument, options, readers)


def _gemini(argument: str, options: TeacherOptions, readers: VideoReaders) -> Teacher:
    from distill.teachers.gemini import Gemini

    return Gemini(argument, options, readers)


def _local(argument: str, options: TeacherOptions, readers: VideoReaders) -> Teacher:
    from distill.teachers.local import LocalCritic

    return LocalCritic(argument, options, readers)


def _replay(argument: str, options: TeacherOptions, readers: VideoReaders) -> Teacher:
    from distill.teachers.replay import Replay

    return Replay(argument)


_BUILT_IN: dict[str, Callable[[str, TeacherOptions, VideoReaders], Teacher]] = {
    "openai": _openai,
    "gemini": _gemini,
    "local": _local,
    "replay": _replay,
}
