"""Takes the text of SHOW CREATE TABLE apart and puts it together again.

The server writes one item of the definition a line, but names may hold line ends and so may nothing else be trusted:
items are found by scanning with quotes and parentheses in mind. The text of an item is never changed.
"""

import re
from dataclasses import dataclass

_FOREIGN_KEY = re.compile(r"CONSTRAINT\s+`(?:[^`]|``)*`\s+FOREIGN KEY\b|FOREIGN KEY\b", re.DOTALL)
_PLAIN_KEY = re.compile(r"(?:SPATIAL )?KEY `")
_AUTO_INCREMENT_OPTION = re.compile(r"\sAUTO_INCREMENT=\d+")


@dataclass(frozen=True)
class Definition:
    """A table's definition. `head` ends with the opening parenthesis, `tail` begins with the closing one."""

    head: str
    items: tuple[str, ...]
    tail: str

    @property
    def foreign_keys(self) -> tuple[str, ...]:
        return tuple(item for item in self.items if is_foreign_key(item))

    @property
    def plain_keys(self) -> tuple[str, ...]:
        """Secondary keys that are neither unique nor FULLTEXT; the server keeps them in this order behind the unique
        ones, so that adding them all again afterwards gives the same definition."""
        return tuple(item for item in self.items if _PLAIN_KEY.match(item))

    @property
    def auto_increment_column(self) -> str | None:
        """The quoted name of the AUTO_INCREMENT column."""
        for item in self.items:
            if item.startswith("`") and re.search(r"\bAUTO_INCREMENT\b", unquoted(item)):
                return item[: _end_of_quoted(item, 0)]
        return None

    def leads_a_kept_key(self, column: str) -> bool:
        """Whether a primary or unique key begins with the column: what AUTO_INCREMENT needs."""
        pattern = re.compile(r"(?:PRIMARY KEY|UNIQUE KEY `(?:[^`]|``)*`)\s*\(" + re.escape(column), re.DOTALL)
        return any(pattern.match(item) for item in self.items)

    def anew(self, where: str) -> str:
        """The statement that makes the table again, empty, whatever stands at `where`."""
        return f"CREATE OR REPLACE TABLE {where} (" + self.without(())[len(self.head) :]

    def without(self, left_out: tuple[str, ...]) -> str:
        """The statement without these items."""
        kept = [item for item in self.items if item not in left_out]
        return self.head + "\n  " + ",\n  ".join(kept) + "\n" + self.tail

    def shape(self) -> str:
        """The definition without the counter of AUTO_INCREMENT, for comparisons."""
        tail = self.tail
        bare = unquoted(tail)
        found = _AUTO_INCREMENT_OPTION.search(bare)
        if found:
            tail = tail[: found.start()] + tail[found.end() :]
        return self.head + "\n  " + ",\n  ".join(self.items) + "\n" + tail


def is_foreign_key(item: str) -> bool:
    return _FOREIGN_KEY.match(item) is not None


def parse(create: str) -> Definition:
    """Split a CREATE TABLE statement. ValueError if it is none."""
    start = _opening_parenthesis(create)
    items: list[str] = []
    depth = 0
    begin = at = start + 1
    while at < len(create):
        ch = create[at]
        if ch in "'\"`":
            at = _end_of_quoted(create, at)
            continue
        if ch == "(":
            depth += 1
        elif ch == ")":
            if depth == 0:
                items.append(create[begin:at].strip())
                return Definition(create[: start + 1], tuple(items), create[at:])
            depth -= 1
        elif ch == "," and depth == 0:
            items.append(create[begin:at].strip())
            begin = at + 1
        at += 1
    raise ValueError("the definition has no end")


def unquoted(text: str) -> str:
    """The text with everything in quotes blanked out, of the same length."""
    parts: list[str] = []
    at = 0
    while at < len(text):
        if text[at] in "'\"`":
            end = _end_of_quoted(text, at)
            parts.append(" " * (end - at))
            at = end
        else:
            parts.append(text[at])
            at += 1
    return "".join(parts)


def _opening_parenthesis(create: str) -> int:
    at = 0
    while at < len(create):
        if create[at] in "'\"`":
            at = _end_of_quoted(create, at)
        elif create[at] == "(":
            return at
        else:
            at += 1
    raise ValueError("not a table definition")


def _end_of_quoted(text: str, start: int) -> int:
    """The place behind a quoted text that begins at `start`; doubled quotes belong to it, in strings backslashes."""
    quote = text[start]
    at = start + 1
    while at < len(text):
        if text[at] == "\\" and quote != "`":
            at += 2
        elif text[at] != quote:
            at += 1
        elif text[at + 1 : at + 2] == quote:
            at += 2
        else:
            return at + 1
    raise ValueError("a quoted text has no end")
