"""A program that restores a backup and knows nothing of Tidewind but docs/format.md: whoever wrote it had that page, a
directory store, the keyring and an empty MariaDB. It imports nothing of ours, and does no more than the page says.

It is no tool: it restores into a server that holds nothing, keeps everything in memory, and gives up at whatever it
did not expect.
"""

import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pymysql
import zstandard

Document = Mapping[str, Any]
SESSION = {
    "character_set_client": "utf8mb4",
    "collation_connection": "utf8mb4_general_ci",
    "sql_mode": "",
    "time_zone": "+00:00",
}
LOAD_SQL_MODE = "NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION"
REPLACED_TEXT, ERROR_VALUE = 1366, 1265
OF_EXPRESSIONS = {1292, 1365, 1411, 1441, 1901}


class Outsider:
    """`open_object` is the page's program, with the keyring already given to it: (key, stored bytes) → content."""

    def __init__(self, store: Path, open_object: Callable[[str, bytes], bytes], connection: Any) -> None:
        self._store = store
        self._open = open_object
        self._connection = connection
        self._chunks: dict[int, Document] = {}

    def restore(self, cluster: str, backup: str) -> None:
        manifest = self._manifest(cluster, backup)
        self._chunks = {chunk["number"]: chunk for chunk in manifest["chunks"]}
        self._run("SET GLOBAL local_infile = ON")
        self._run("SET SESSION foreign_key_checks = 0, check_constraint_checks = 0, max_error_count = 65535")
        for schema in manifest["schemas"]:
            self._run(schema["create"])
        for one in manifest["objects"]:
            if one["kind"] == "sequence":
                self._make(one)
        for table in manifest["tables"]:
            self._session(table["session"])
            self._run(f"USE {_name(table['schema_name'])}")
            self._run(table["create"])
        for table in manifest["tables"]:
            where = f"{_name(table['schema_name'])}.{_name(table['name'])}"
            computed = "GENERATED ALWAYS AS (" in table["create"]
            self._load(where, table["columns"], table["chunks"], computed=computed)
        for one in manifest["objects"]:
            if one["kind"] != "sequence":
                self._make(one)
        for schema in manifest["schemas"]:
            # Objects may have been made under another collation of their schema.
            self._run("ALTER DATABASE " + schema["create"].removeprefix("CREATE DATABASE "))
        self._system_tables(manifest["system_tables"])
        self._variables(manifest["variables"])

    def _manifest(self, cluster: str, backup: str) -> Document:
        assert not (self._store / f"tombstones/{cluster}/{backup}.json").exists()
        outcome = json.loads(self._object(f"outcomes/{cluster}/{backup}.json"))
        assert (outcome["format"], outcome["result"]) == (1, "completed")
        assert self._digest(outcome["manifest_key"]) == (outcome["manifest_size"], outcome["manifest_sha256"])
        manifest: Document = json.loads(self._object(outcome["manifest_key"]))
        assert (manifest["format"], manifest["engine"]) == (1, "mariadb")
        return manifest

    def _make(self, one: Document) -> None:
        schema = _name(one["schema_name"])
        session = dict(one["session"])
        collation = session.pop("collation_database", None)
        if collation is not None:
            self._run(f"ALTER DATABASE {schema} COLLATE {collation}")
        self._session(session)
        self._run(f"USE {schema}")
        charset = session.get("character_set_client", "utf8mb4")
        encoding = pymysql.charset.charset_by_name(charset).encoding
        self._connection.query(one["create"].encode(encoding))
        if one["kind"] == "sequence":
            row = one["attributes"]["row"]
            columns, values = ", ".join(map(_name, row)), ", ".join(map(str, row.values()))
            self._run(f"INSERT INTO {schema}.{_name(one['name'])} ({columns}) VALUES ({values})")

    def _load(self, table: str, columns: Sequence[Document], chunks: Sequence[int], *, computed: bool = False) -> None:
        self._session({"sql_mode": LOAD_SQL_MODE})
        self._run(f"SET SESSION sql_notes = {int(not computed)}")
        history = int(any(column["load"] == "period" for column in columns))
        self._run(f"SET SESSION system_versioning_insert_history = {history}")
        targets, assignments = [], []
        for number, column in enumerate(columns):
            assert column["load"] in ("plain", "index", "period")
            if column["load"] == "index":
                targets.append(f"@v{number}")
                assignments.append(f"{_name(column['name'])} = CAST(@v{number} AS UNSIGNED)")
            else:
                targets.append(_name(column["name"]))
        members = any(re.match("enum|set", column["kind"], re.IGNORECASE) for column in columns)
        for number in chunks:
            chunk = self._chunks[number]
            assert self._digest(chunk["key"]) == (chunk["size"], chunk["sha256"])
            text = zstandard.ZstdDecompressor().decompressobj().decompress(self._object(chunk["key"]))
            assert (text.count(b"\n"), len(text)) == (chunk["rows"], chunk["row_bytes"])
            with tempfile.NamedTemporaryFile() as file:
                file.write(text)
                file.flush()
                taken = self._run(
                    f"LOAD DATA LOCAL INFILE '{file.name}' INTO TABLE {table} CHARACTER SET binary "
                    "FIELDS TERMINATED BY X'09' ESCAPED BY X'5C' LINES TERMINATED BY X'0A' "
                    f"({', '.join(targets)})" + (f" SET {', '.join(assignments)}" if assignments else "")
                )
            warnings = [(int(code), str(text)) for _, code, text in self._rows("SHOW WARNINGS")]
            if computed:
                warnings = [one for one in warnings if not _of_computing(*one, columns)]
            codes = {code for code, _ in warnings}
            assert REPLACED_TEXT not in codes, f"{table}: text that is not well formed; only a row event stores it"
            assert codes <= ({ERROR_VALUE} if members else set()), codes
            assert taken == chunk["rows"]

    def _system_tables(self, tables: Sequence[Document]) -> None:
        for one in tables:
            if one["rule"] not in ("account", "rows", "statistics"):
                continue
            columns = [{"name": name, "kind": "text", "load": "plain"} for name in one["columns"]]
            self._run(f"DELETE FROM mysql.{_name(one['name'])}")
            self._load(f"mysql.{_name(one['name'])}", columns, one["chunks"])
        self._run("FLUSH PRIVILEGES")

    def _variables(self, wanted: Mapping[str, str | None]) -> None:
        present = self._rows(
            "SELECT LOWER(VARIABLE_NAME), VARIABLE_TYPE, GLOBAL_VALUE FROM information_schema.SYSTEM_VARIABLES "
            "WHERE READ_ONLY = 'NO' AND GLOBAL_VALUE IS NOT NULL"
        )
        for name, kind, value in present:
            then = wanted.get(name)
            if then is None or then == value:
                continue
            number = kind.startswith(("INT", "BIGINT", "DOUBLE", "BOOLEAN")) and re.fullmatch(r"[-+]?\d+(\.\d*)?", then)
            self._run(f"SET GLOBAL {_name(name)} = {then if number else self._connection.escape(then)}")

    def _session(self, settings: Mapping[str, str]) -> None:
        wanted = {**SESSION, **settings}
        self._run("SET " + ", ".join(f"SESSION {name} = {self._connection.escape(wanted[name])}" for name in wanted))

    def _object(self, key: str) -> bytes:
        return self._open(key, (self._store / key).read_bytes())

    def _digest(self, key: str) -> tuple[int, str]:
        stored = (self._store / key).read_bytes()
        return len(stored), hashlib.sha256(stored).hexdigest()

    def _run(self, sql: str) -> int:
        with self._connection.cursor() as cursor:
            return int(cursor.execute(sql))

    def _rows(self, sql: str) -> Sequence[Sequence[Any]]:
        with self._connection.cursor() as cursor:
            cursor.execute(sql)
            found: Sequence[Sequence[Any]] = cursor.fetchall()
            return found


def _name(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _of_computing(code: int, text: str, columns: Sequence[Document]) -> bool:
    """Whether a warning is about a column that is not in the chunk."""
    if "column " not in text:
        return code in OF_EXPRESSIONS
    return not any(f"'{column['name']}'" in text or f"`{column['name']}`" in text for column in columns)
