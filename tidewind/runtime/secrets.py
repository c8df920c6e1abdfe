"""Secrets by reference: `env:NAME` or `file:/absolute/path`. A resolved secret lives only where it is used."""

import os
from pathlib import Path

from tidewind.domain.problems import refused
from tidewind.ports.engine import Login


def resolve(reference: str) -> str:
    """The secret's text without its final newline. Raises Refused (secret-unavailable), which never holds the text."""
    kind, _, name = reference.partition(":")
    if kind == "env":
        value = os.environ.get(name)
        if value is None:
            raise refused(
                "secret-unavailable",
                f"{reference}: the environment variable {name} is not set",
                next_step=f"It is read where the services run: export {name} there, then restart them",
            )
        return value
    if kind == "file":
        try:
            return Path(name).read_text().removesuffix("\n")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise refused("secret-unavailable", f"{reference}: cannot be read: {why}") from None
    # Not quoted: whoever put the secret itself here must not find it in a log.
    raise refused("secret-unavailable", 'a secret must be named by reference: "env:NAME" or "file:/absolute/path"')


def resolve_login(reference: str) -> Login:
    """An account, written `user:password` in the secret; the user may not hold a colon."""
    user, colon, password = resolve(reference).partition(":")
    if not colon or not user:
        raise refused("secret-unavailable", f"{reference}: the secret must read user:password")
    return Login(user=user, password=password)
