"""What a release left behind, kept for all later ones: a store with a backup in it, and what the services had said.

    v1/store/           the store, as it lay in its directory
    v1/keyring          the keys it is encrypted under; they guard nothing but this
    v1/content.json     what the database held, read by tests/oracle.py
    v1/messages.json    every reply, event and status of its making

A release that changes a format adds a folder, made by `python -m tests.compat.make_released NAME`; none is ever changed.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.oracle import Content

HERE = Path(__file__).parent
FORMATS = tuple(sorted(folder.parent.name for folder in HERE.glob("*/store")))
AUDITOR, AUDITOR_PASSWORD = "auditor", "auditor-secret-1"
"""An account of the database in the backup: whoever puts it back knows its password."""


class Released:
    def __init__(self, name: str) -> None:
        self.folder = HERE / name
        self.store = self.folder / "store"

    @property
    def keyring(self) -> str:
        return (self.folder / "keyring").read_text()

    @property
    def content(self) -> Content:
        kept = json.loads((self.folder / "content.json").read_text())
        return Content(**kept | {"rows": {name: (count, digest) for name, (count, digest) in kept["rows"].items()}})

    @property
    def messages(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads((self.folder / "messages.json").read_text())
        return found

    def write(self, keyring: str, content: Content, messages: list[dict[str, Any]]) -> None:
        (self.folder / "keyring").write_text(keyring)
        (self.folder / "content.json").write_text(_json(asdict(content)))
        (self.folder / "messages.json").write_text(_json(messages))


def _json(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
