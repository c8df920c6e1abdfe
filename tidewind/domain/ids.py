"""Ids: who may be named how, and how ids follow from what they stand for.

A job's id follows from the command, so that the same command always finds the same job. Ids of backups, restores and
timelines follow from their job or minted randomness, and only such ids ever become part of a store key.
"""

import re
import uuid

_NAMESPACE = uuid.UUID("5f1d9a34-1c1e-5c6e-9d1b-7a1f0b1d7e11")
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_CLUSTER_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")

ROOT_TIMELINE = "main"


def is_cluster_id(text: str) -> bool:
    """Whether the text may be a cluster id: it will be part of keys, account comments and message keys."""
    return _CLUSTER_ID.fullmatch(text) is not None


def job_id(cluster_id: str, command: str, *, idempotency_key: str | None, source: str, message_id: str) -> str:
    """The job of a command: by its idempotency key, else by its sender and id."""
    identity = f"key:{idempotency_key}" if idempotency_key else f"id:{source}\n{message_id}"
    return str(uuid.uuid5(_NAMESPACE, "\n".join((cluster_id, command, identity))))


def message_id(job: str, step: str) -> str:
    """The id of a reply or event: the same step of the same job always has the same id."""
    return str(uuid.uuid5(uuid.UUID(job), step))


def derived_id(*parts: str) -> str:
    """A UUID that follows from the parts."""
    return str(uuid.uuid5(_NAMESPACE, "\n".join(parts)))


def _short(seed: str) -> str:
    number = uuid.uuid5(_NAMESPACE, seed).int
    digits = []
    for _ in range(10):
        number, digit = divmod(number, 32)
        digits.append(_ALPHABET[digit])
    return "".join(digits)


def backup_id(job: str) -> str:
    """`bkp_` and ten characters, from the job that makes it."""
    return "bkp_" + _short(f"backup\n{job}")


def restore_id(job: str) -> str:
    """`rst_` and ten characters, from the job that does it."""
    return "rst_" + _short(f"restore\n{job}")


def timeline_id(restore: str) -> str:
    """The timeline that a restore opens."""
    return "tl_" + _short(f"timeline\n{restore}")


def history_id(cluster: str, seed: str) -> str:
    """`hst_` and ten characters. `seed` tells this beginning of a log from every other: the session's id."""
    return "hst_" + _short(f"history\n{cluster}\n{seed}")
