"""Keep keys out of everything that is written: errors, journal, labels and logs."""

import re
from collections.abc import Iterable

HIDDEN = "[redacted]"

_LOOKS_SECRET = re.compile(
    r"(?<![A-Za-z0-9])(?:AIza[\w-]{16,}|sk-[\w-]{8,}|hf_[A-Za-z0-9]{8,}|ya29\.[\w.-]{8,})"
    r"|(?<=[?&]key=)[^&\s\"']+"
    r"|(?i:(?<=bearer )[\w.~+/=-]{6,}|(?<=x-goog-api-key: )[^\s\"']+|(?<=authorization: )[^\s\"']+(?: [^\s\"']+)?)"
)


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Return a text without the given secrets and without anything that looks like a key.

    Known by their look: `AIza...`, `sk-...`, `hf_...`, `ya29....`, `?key=...`, what follows "Bearer ".
    """
    for secret in secrets:
        if secret:
            text = text.replace(secret, HIDDEN)
    return _LOOKS_SECRET.sub(HIDDEN, text)
