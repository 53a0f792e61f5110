"""One exception root; every message says what was wrong, where, and what to do."""


class WorldcriticError(Exception):
    """Root of all errors raised on purpose. `exit_code` is what the console command returns."""

    exit_code = 1


class InputError(WorldcriticError):
    """The caller gave something unusable: a file, an id, a key, a value. Nothing was changed."""

    exit_code = 2


class VideoError(WorldcriticError):
    """A video cannot give the frames asked for: missing, damaged, too large, or too slow to decode."""


class CriticError(WorldcriticError):
    """A critic cannot answer: out of memory at the smallest batch, or a model it does not know."""
