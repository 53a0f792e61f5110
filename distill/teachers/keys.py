"""Keys come from the environment and from nowhere else."""

import os
from urllib.parse import urlsplit

from distill.teachers.options import TeacherOptions
from reward.errors import InputError


def key_for(options: TeacherOptions, usual: str) -> str | None:
    """Return the key of a teacher: that of `--api_key_env`; else `usual`, but never for another address.

    A key made for one company must not be sent to whatever server --base_url names, so with --base_url the variable
    must be named. Raises InputError for a variable that is not set, or an address that carries a password or a key.
    """
    if options.base_url is not None:
        _check_address(options.base_url)
    name = options.api_key_env or (usual if options.base_url is None else None)
    if name is None:
        return None
    key = os.environ.get(name, "").strip()
    if not key:
        raise InputError(f"the environment variable {name} holds no key; set it, or name another with --api_key_env")
    return key


def _check_address(base_url: str) -> None:
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError("--base_url must be an address such as http://127.0.0.1:8000/v1")
    if parts.username or parts.password or parts.query:
        raise InputError(
            "--base_url must hold no user, password or query, since it is saved with the results; "
            "put the key into an environment variable and name it with --api_key_env"
        )
