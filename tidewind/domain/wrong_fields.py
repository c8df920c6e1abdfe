"""What is wrong with the fields of a command, in words for people: the same in the tool that sends and in the services.

The contract's own rules speak for themselves; the words for what pydantic finds by itself are here.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from schemas.replies import FieldError

LONGEST_FIELD = 200
LONGEST_PROBLEM = 500

_REFERENCE = 'must name where the secret is, never the secret: "env:NAME" or "file:/absolute/path"'
_PATTERNS = {
    "cluster_id": "must be lower-case letters, digits and hyphens, beginning with a letter or digit, at most 63",
    "backup_id": "must be a backup's id such as bkp_4TZ0A1B2C3; see  tidewind backup list --cluster CLUSTER",
    "restore_id": "must be a restore's id such as rst_8MM0A1B2C3; see  tidewind restore list",
    "timeline": 'must be "main" or a timeline\'s id such as tl_9XK0A1B2C3',
    "plan_hash": "must be the hash that the plan showed",
    "slot_date": 'must be a day as "2026-11-23"',
    **dict.fromkeys(("credentials", "restore_credentials", "ca", "certificate", "key"), _REFERENCE),
}


def wrong_fields(error: ValidationError, *, whole: str, most: int) -> tuple[FieldError, ...]:
    """The first `most` of them. `whole` names what is wrong with no single field."""
    found = error.errors(include_url=False, include_input=False)[:most]
    return tuple(_wrong_field(one["loc"], one["type"], one["msg"], one.get("ctx", {}), whole) for one in found)


def _wrong_field(
    location: tuple[int | str, ...], kind: str, text: str, facts: Mapping[str, Any], whole: str
) -> FieldError:
    field = ".".join(str(part) for part in location)[:LONGEST_FIELD] or whole
    return FieldError(field=field, problem=_words(field, kind, text, facts)[:LONGEST_PROBLEM])


def _words(field: str, kind: str, text: str, facts: Mapping[str, Any]) -> str:
    name = field.rpartition(".")[2]
    match kind:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return "no such field; check its spelling"
        case "literal_error":
            return f"must be {facts['expected']}"
        case "timezone_aware":
            return 'must carry its zone, as "2026-11-23T10:00:00Z" does'
        case "too_short":
            return f"needs at least {facts['min_length']} of them"
        case "string_pattern_mismatch":
            return _PATTERNS.get(name, text)
        case _:
            return text.removeprefix("Value error, ")
