"""Every value of every column type comes back with the same bits."""

import random
import struct
from collections.abc import Awaitable, Callable
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any
from uuid import UUID

from tests.integration.mariadb.restore_lab import enrolled_lab
from tests.integration.mariadb.snapshot_support import apart, client, held, rows, run

SEED = 20261123
ROWS = 4000
REALS = 60_000
Generate = Callable[[random.Random], str]


def integers(bits: int, unsigned: bool) -> Generate:
    low, high = (0, 2**bits - 1) if unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    edges = [low, low + 1, -1 if not unsigned else 1, 0, 1, high - 1, high]
    return lambda r: str(r.choice(edges) if r.random() < 0.2 else r.randint(low, high))


def floats(r: random.Random) -> str:
    """As a double that a FLOAT stores exactly: random bits, subnormal, extreme, both zeros."""
    while True:
        value = struct.unpack(
            "<f", r.choice([r.randbytes(4), r.randbytes(3) + b"\0", b"\1\0\0\0", b"\xff\xff\x7f\x7f"])
        )[0]
        if value == value and abs(value) != float("inf"):
            return repr(value)


def doubles(r: random.Random) -> str:
    edges = [5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 0.1, -0.1, 1 / 3, 2**53 + 1.0, -0.0, 1e22, 1e23]
    while True:
        value = r.choice(edges) if r.random() < 0.2 else struct.unpack("<d", r.randbytes(8))[0]
        if value == value and abs(value) != float("inf"):
            return repr(value)


def decimals(digits: int, scale: int) -> Generate:
    def one(r: random.Random) -> str:
        whole = "".join(r.choices("0123456789", k=r.randint(1, digits - scale)))
        return r.choice(["", "-"]) + whole + "." + "".join(r.choices("0123456789", k=scale))

    return one


def blob(limit: int) -> Generate:
    def one(r: random.Random) -> str:
        kinds = [b"", b"\\", b"\t\n\\\0\r\x1a'\"", b"\\N", bytes(range(256))[:limit], r.randbytes(r.randint(0, limit))]
        return "X'" + r.choice(kinds)[:limit].hex() + "'"

    return one


def text(charset: str, codec: str, limit: int) -> Generate:
    alphabet = "aZ09 \\\t\n\r\0'\"`%_éß€¥あ漢😀"

    def one(r: random.Random) -> str:
        wanted = "".join(r.choices(alphabet, k=r.randint(0, limit)))
        return f"_{charset} X'" + wanted.encode(codec, "ignore").hex() + "'"

    return one


def any_bytes(charset: str, limit: int) -> Generate:
    """Of an eight-bit character set: also those it gives no meaning to."""
    return lambda r: "X'" + r.randbytes(r.randint(0, limit)).rstrip(b" ").hex() + "'"


def moments(r: random.Random) -> str:
    edges = [
        "0000-00-00 00:00:00", "2024-00-00 00:00:00", "2024-02-31 23:59:59.999999", "0001-01-01 00:00:00",
        "9999-12-31 23:59:59.999999", "2024-02-30 00:00:00.5",
    ]  # fmt: skip
    if r.random() < 0.3:
        return f"'{r.choice(edges)}'"
    date = f"{r.randint(1, 9999):04}-{r.randint(0, 12):02}-{r.randint(0, 31):02}"
    return f"'{date} {r.randint(0, 23):02}:{r.randint(0, 59):02}:{r.randint(0, 59):02}.{r.randint(0, 999999):06}'"


def stamps(r: random.Random) -> str:
    """UTC; among them both 01:30 of an autumn night in Berlin."""
    edges = [
        "0000-00-00 00:00:00",
        "1970-01-01 00:00:01",
        "2038-01-19 03:14:07.999999",
        "2026-10-25 00:30:00",
        "2026-10-25 01:30:00",
    ]
    if r.random() < 0.3:
        return f"'{r.choice(edges)}'"
    return f"FROM_UNIXTIME({r.randint(1, 2**31 - 1)}.{r.randint(0, 999999):06})"


def spans(r: random.Random) -> str:
    edges = ["-838:59:59.999999", "838:59:59.999999", "00:00:00", "-00:00:00.000001"]
    if r.random() < 0.2:
        return f"'{r.choice(edges)}'"
    return f"'{r.choice(['', '-'])}{r.randint(0, 838)}:{r.randint(0, 59):02}:{r.randint(0, 59):02}.{r.randint(0, 999999):06}'"


def shapes(r: random.Random) -> str:
    def number() -> str:
        return repr(r.choice([0.0, -0.0, 1e300, r.uniform(-180, 180)]))

    point = f"{number()} {number()}"
    kind = r.choice(["POINT({})", "LINESTRING({}, 1 2)", "POLYGON((0 0, 1 0, 1 1, 0 0))", "MULTIPOINT({}, 3 4)",
                     "GEOMETRYCOLLECTION(POINT({}), LINESTRING(0 0, 1 1))"])  # fmt: skip
    return f"ST_GeomFromText('{kind.format(point)}', {r.choice([0, 1, 4326, 2**31 - 1])})"


def quoted(make: Callable[[random.Random], Any]) -> Generate:
    return lambda r: f"'{make(r)}'"


def uuid(r: random.Random) -> str:
    """The server takes the kinds it knows only."""
    version = r.choice([1, 3, 4, 5])
    return str(UUID(bytes=r.randbytes(16), version=version))


def inet6(r: random.Random) -> str:
    raw = r.choice(
        [r.randbytes(16), bytes(10) + b"\xff\xff" + r.randbytes(4), bytes(12) + r.randbytes(4), bytes(16), b"\xff" * 16]
    )
    return str(IPv6Address(raw))


COLUMNS: dict[str, tuple[str, Generate]] = {
    "i8": ("TINYINT", integers(8, False)),
    "i8u": ("TINYINT UNSIGNED ZEROFILL", integers(8, True)),
    "i16": ("SMALLINT", integers(16, False)),
    "i24u": ("MEDIUMINT UNSIGNED", integers(24, True)),
    "i32": ("INT(11)", integers(32, False)),
    "i64": ("BIGINT", integers(64, False)),
    "i64u": ("BIGINT UNSIGNED", integers(64, True)),
    "f": ("FLOAT", floats),
    "f2": ("FLOAT(9,3)", lambda r: repr(round(r.uniform(-99999, 99999), 3))),
    "d": ("DOUBLE", doubles),
    "d2": ("DOUBLE(20,6)", lambda r: repr(r.uniform(-1e12, 1e12))),
    "n65": ("DECIMAL(65,30)", decimals(65, 30)),
    "n10": ("DECIMAL(10,0)", lambda r: str(r.randint(-(10**9), 10**9))),
    "b1": ("BIT(1)", lambda r: f"b'{r.randint(0, 1)}'"),
    "b13": ("BIT(13)", lambda r: f"b'{r.randint(0, 2**13 - 1):b}'"),
    "b64": ("BIT(64)", lambda r: f"b'{r.choice([0, 1, 2**63, 2**64 - 1, 10, 2314, r.getrandbits(64)]):b}'"),
    "y": ("YEAR", lambda r: f"'{r.choice([0, 1901, 1970, 2000, 2069, 2155]):04}'"),
    "dt": ("DATE", lambda r: f"LEFT({moments(r)}, 10)"),
    "dtm": ("DATETIME", moments),
    "dtm6": ("DATETIME(6)", moments),
    "ts": ("TIMESTAMP NULL", stamps),
    "ts6": ("TIMESTAMP(6) NULL", stamps),
    "tm6": ("TIME(6)", spans),
    "tm": ("TIME", spans),
    "c": ("CHAR(20)", text("utf8mb4", "utf-8", 20)),
    "vc": ("VARCHAR(300)", text("utf8mb4", "utf-8", 80)),
    "lat": ("VARCHAR(60) CHARACTER SET latin1", any_bytes("latin1", 60)),
    "asc_": ("VARCHAR(60) CHARACTER SET ascii", any_bytes("ascii", 60)),
    "cp": ("VARCHAR(60) CHARACTER SET cp1250", any_bytes("cp1250", 60)),
    "sjis": ("VARCHAR(60) CHARACTER SET sjis", text("sjis", "shift_jis", 30)),
    "gbk": ("VARCHAR(60) CHARACTER SET gbk", text("gbk", "gbk", 30)),
    "big5": ("VARCHAR(60) CHARACTER SET big5", text("big5", "big5", 30)),
    "ucs2": ("VARCHAR(60) CHARACTER SET ucs2", text("ucs2", "utf-16-be", 20)),
    "u16": ("VARCHAR(60) CHARACTER SET utf16", text("utf16", "utf-16-be", 20)),
    "u32": ("TEXT CHARACTER SET utf32", text("utf32", "utf-32-be", 20)),
    "bin_": ("BINARY(17)", blob(17)),
    "vb": ("VARBINARY(300)", blob(300)),
    "tb": ("TINYBLOB", blob(255)),
    "bl": ("BLOB", blob(2000)),
    "lb": ("LONGBLOB", blob(2000)),
    "tx": ("TEXT", text("utf8mb4", "utf-8", 200)),
    "cmp": ("TEXT COMPRESSED", text("utf8mb4", "utf-8", 200)),
    "js": ("JSON", lambda r: r.choice(["'{\"b\": 1.0, \"a\": [1e2, \"\\\\u00e9\\\\n\"]}'", "'[ ]'", "'null'", "'1e400'"])),
    "e": ("ENUM('small', 'medium', 'large')", lambda r: r.choice(["1", "2", "3", "0"])),
    "e2": ("ENUM('', '0', '2', '1', 'é', 'a,b', 'it''s')", lambda r: str(r.randint(0, 7))),
    "s": ("SET('a', 'b', 'c')", lambda r: str(r.randint(0, 7))),
    "s64": ("SET(" + ", ".join(f"'m{n}'" for n in range(64)) + ")", lambda r: str(r.choice([0, 2**63, 2**64 - 1, r.getrandbits(64)]))),
    "s2": ("SET('', 'x')", lambda r: str(r.randint(0, 3))),
    "g": ("GEOMETRY", shapes),
    "pt": ("POINT", lambda r: f"ST_GeomFromText('POINT({r.uniform(-90, 90)!r} -0)', 4326)"),
    "u": ("UUID", quoted(uuid)),
    "ip6": ("INET6", quoted(inet6)),
    "ip4": ("INET4", quoted(lambda r: ".".join(str(b) for b in r.randbytes(4)))),
}  # fmt: skip


def fill(connection: Any) -> int:
    """Make `bits`; returns how many values it holds that are not NULL."""
    dice = random.Random(SEED)
    columns = ", ".join(f"`{name}` {kind}" for name, (kind, _) in COLUMNS.items())
    run(
        connection,
        "CREATE DATABASE bits",
        "SET SESSION sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+00:00', check_constraint_checks = 0",
        f"CREATE TABLE bits.`all` (id INT PRIMARY KEY, {columns})",
        "CREATE TABLE bits.reals (id INT PRIMARY KEY, f FLOAT, d DOUBLE, fu FLOAT UNSIGNED)",
    )
    for start in range(0, ROWS, 200):
        values = [
            f"({start + n}, "
            + ", ".join("NULL" if dice.random() < 0.05 else make(dice) for _, make in COLUMNS.values())
            + ")"
            for n in range(200)
        ]
        run(connection, f"INSERT INTO bits.`all` VALUES {', '.join(values)}")
    for start in range(0, REALS, 2000):
        values = [f"({start + n}, {floats(dice)}, {doubles(dice)}, ABS({floats(dice)}))" for n in range(2000)]
        run(connection, f"INSERT INTO bits.reals VALUES {', '.join(values)}")
    counts = rows(connection, f"SELECT {', '.join(f'COUNT(`{name}`)' for name in COLUMNS)} FROM bits.`all`")[0]
    assert min(counts) > ROWS * 0.9, dict(zip(COLUMNS, counts, strict=True))
    reals = rows(connection, "SELECT COUNT(f) + COUNT(d) + COUNT(fu) FROM bits.reals")[0][0]
    return int(sum(counts)) + int(reals)


async def test_every_type_keeps_its_bits(mariadb_factory: Callable[..., Awaitable[Any]], tmp_path: Path) -> None:
    """In place, the way a restore goes: every value is made another, or goes, between the backup and the restore."""
    server = await mariadb_factory()
    async with enrolled_lab(server, tmp_path) as lab:
        connection = client(server)
        values = fill(connection)
        assert values >= 100_000
        then = held(server)
        backup = await lab.backup()
        run(connection, "TRUNCATE bits.`all`", "UPDATE bits.reals SET f = id, d = id + 0.5, fu = id")
        connection.close()
        assert len(apart(then, held(server))) == 4, "values and checksums of both tables"
        ending = await lab.restore(backup)
        assert ending.event == "tidewind.restore.completed.v1", ending
        assert apart(then, held(server)) == []
