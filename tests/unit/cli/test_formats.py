"""Numbers, moments and names as people read them."""

from datetime import UTC, datetime, timedelta

import pytest

from tidewind.cli.formats import ago, duration, in_zone, moment, number, printable, quantity, size


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (None, "–"),
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (41_200_000_000, "41.2 GB"),
        (3e18, "3000.0 PB"),
    ],
)
def test_sizes(count, shown):
    assert size(count) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "–"),
        (0, "0.0 s"),
        (0.94, "0.9 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (119, "119 s"),
        (120, "2 min"),
        (206, "3 min 26 s"),
        (5999, "99 min 59 s"),
        (6000, "1 h 40 min"),
        (7500, "2 h 5 min"),
        (47 * 3600, "47 h"),
        (2 * 86400, "2 d"),
        (76 * 3600, "3 d 4 h"),
        (400 * 86400, "400 d"),
        (-5, "−5.0 s"),
    ],
)
def test_durations(seconds, shown):
    assert duration(seconds) == shown


def test_quantities():
    assert quantity(2_000_000, "bytes") == "2.0 MB"
    assert quantity(1214, "tables") == "1,214 tables"
    assert quantity(3, "") == "3"
    assert number(None) == "–"


def test_a_moment_always_names_its_zone():
    at = datetime(2026, 11, 23, 1, 0, 11, tzinfo=UTC)
    assert moment(at) == "2026-11-23 01:00:11 UTC"
    assert moment(at, "Europe/Berlin") == "2026-11-23 02:00:11 CET"
    assert moment(at, "America/Sao_Paulo", seconds=False) == "2026-11-22 22:00 UTC-03"
    assert in_zone(at, "Europe/Berlin") == "2026-11-23 01:00:11 UTC (02:00:11 in Europe/Berlin)"
    assert in_zone(at, "America/New_York") == "2026-11-23 01:00:11 UTC (2026-11-22 20:00:11 in America/New_York)"
    assert in_zone(at, "UTC") == moment(at)


def test_ago_tells_the_direction():
    now = datetime(2026, 11, 23, 1, 0, 11, tzinfo=UTC)
    assert ago(now - timedelta(seconds=4), now) == "4.0 s ago"
    assert ago(now + timedelta(hours=15, minutes=10), now) == "in 15 h 10 min"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("shop.`orders`", "shop.`orders`"),
        ("a\nb", "a\\nb"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("🙂 ü", "🙂 ü"),
        ("abc\u202egnp", "abc\\u202egnp"),
        ("[red]no markup[/red]", "[red]no markup[/red]"),
        ("\ud800", "\\ud800"),
    ],
)
def test_names_from_outside_cannot_move_the_cursor(text, shown):
    assert printable(text) == shown


def test_long_text_is_cut():
    assert printable("x" * 600, limit=10) == "x" * 10 + "…"
