"""Errors that a port raises, as problems an operator can act on."""

from schemas.replies import Problem
from tidewind.domain.problems import Refused, problem
from tidewind.ports.engine import DatabaseError
from tidewind.ports.store import (
    FormatNewer,
    KeyMissing,
    ObjectDamaged,
    ObjectMissing,
    StoreError,
    StoreForeign,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
    StoreUnconditional,
)
from tidewind.runtime.log_archive import LogDamaged

_KINDS: tuple[tuple[type[StoreError], str], ...] = (
    (KeyMissing, "key-missing"),
    (LogDamaged, "log-damaged"),
    (ObjectDamaged, "backup-damaged"),
    (ObjectMissing, "backup-damaged"),
    (FormatNewer, "store-newer-format"),
    (StoreFull, "store-full"),
    (StoreForeign, "store-foreign"),
    (StoreUnconditional, "store-unconditional"),
    (StoreRefused, "store-refused"),
    (StoreUnavailable, "store-unavailable"),
)

Told = Refused | DatabaseError | StoreError
"""What says itself what is wrong; everything else is a defect of ours."""


def problem_of(error: Told) -> Problem:
    if isinstance(error, Refused):
        return error.problem
    if isinstance(error, DatabaseError):
        return problem(error.kind, error.detail, next_step=error.next_step)
    return store_problem(error)


def store_problem(error: StoreError) -> Problem:
    """The problem of a failed store call; names the object."""
    for kind, name in _KINDS:
        if isinstance(error, kind):
            return problem(name, str(error), next_step=error.hint or None)
    return problem("internal-error", str(error))
