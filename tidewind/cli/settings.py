"""What is wrong with the environment, by the names of its variables, each with a line that sets it."""

from collections.abc import Iterator

from pydantic import ValidationError

from tidewind.cli.ports import Check

_EXAMPLES = {
    "TIDEWIND_STORE_URL": "file:///var/backups/tidewind   (or s3://bucket/prefix)",
    "TIDEWIND_KEYRING": "file:/etc/tidewind/keyring",
    "TIDEWIND_KAFKA_BOOTSTRAP": "kafka-1:9092",
}
_GROUPS = {"TIDEWIND_KEYRING": "key", "TIDEWIND_STORE": "store", "TIDEWIND_KAFKA": "broker"}
"""What `doctor` calls what a variable is about, by the beginning of its name."""


def wrong_settings(error: ValidationError, prefix: str) -> Iterator[tuple[str, str, str]]:
    """(variable, what is wrong, what to do)."""
    for detail in error.errors():
        facts = detail.get("ctx", {})
        field = "_".join(str(part) for part in detail["loc"]).upper()
        text = "is not set" if detail["type"] == "missing" else detail["msg"].removeprefix("Value error, ")
        if not field and "variable" not in facts:
            # Several settings do not go together: the text names them as fields.
            yield f"{prefix}*", text, f"set the variables named, each with {prefix} before its name"
            continue
        name = facts.get("variable") or (field if field.startswith("TIDEWIND_") else f"{prefix}{field}")
        yield name, text, facts.get("fix") or f"export {name}={_EXAMPLES.get(name, '…')}"


def settings_checks(error: ValidationError, prefix: str) -> list[Check]:
    """The same as findings of `doctor`."""
    return [
        Check(group=_group(name), level="error", text=f"{name} {text}", fix=fix)
        for name, text, fix in wrong_settings(error, prefix)
    ]


def _group(name: str) -> str:
    return next((group for beginning, group in _GROUPS.items() if name.startswith(beginning)), "settings")
