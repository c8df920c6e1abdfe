"""How the tool ends: exit codes, and exceptions that carry one."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schemas.replies import Problem

OK = 0
FAILED = 1
USAGE = 64
UNAVAILABLE = 69
INTERNAL = 70
NOT_FOUND = 66
TRY_AGAIN = 75
CONFIGURATION = 78
INTERRUPTED = 130

KAFKA_AWAY = "start Kafka, or name another:  export TIDEWIND_KAFKA_BOOTSTRAP=host:port"

EXIT_CODES: dict[int, str] = {
    OK: "done, or accepted with --no-wait",
    FAILED: "something is wrong, without a more exact code; `doctor` and `topics check` found an error",
    USAGE: "the command line or the command itself is not valid; nothing was sent, or the service refused it",
    65: "the command cannot be carried out as things are",
    NOT_FOUND: "what was named does not exist",
    UNAVAILABLE: "not reachable or not offered: Kafka, the store, a database, an engine, a mode",
    INTERNAL: "an error inside Tidewind",
    74: "a database or the store failed, or stored bytes are damaged",
    TRY_AGAIN: "not now, or not known yet: repeat it with the idempotency key that was printed",
    77: "a right, an account or a key is missing",
    CONFIGURATION: "a setting or a secret is missing or wrong",
    INTERRUPTED: "Ctrl-C; a command that was accepted goes on",
}
"""Every code the tool can end with. `docs/errors.md` shows this table."""


class Stop(Exception):
    """End with this code; everything was said already."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Complaint(Exception):
    """An error of the tool's own: a headline, and lines of (name, value) under it."""

    def __init__(self, code: int, headline: str, *lines: tuple[str, str]) -> None:
        super().__init__(headline)
        self.code = code
        self.headline = headline
        self.lines = list(lines)


class Left(Complaint):
    """The operator stopped looking at something that goes on: told like a complaint, but nothing is wrong."""


def code_of(problem: "Problem") -> int:
    """The exit code of a problem, by its kind."""
    from tidewind.domain.problems import kind_of

    return kind_of(problem).exit_code


def undocumented() -> set[int]:
    """Codes of the catalogue that the table does not explain."""
    from tidewind.domain.problems import KINDS

    return {kind.exit_code for kind in KINDS.values()} - set(EXIT_CODES)
