"""What reaches the log of a service while a library repeats itself."""

import json
import logging

import pytest
import structlog

from tidewind.runtime.logs import SAID_AGAIN_S, OnceAMinute, configure_logs


class Tape(logging.Handler):
    def __init__(self, seconds: list[float]) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.addFilter(OnceAMinute(lambda: seconds[0]))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def record(name: str, text: str, *values: object, level: int = logging.ERROR) -> logging.LogRecord:
    return logging.LogRecord(name, level, "client.py", 1, text, values, None)


def test_an_outage_of_minutes_costs_one_line_a_cause_and_minute() -> None:
    seconds = [0.0]
    tape = Tape(seconds)
    for moment in range(93 * 20):
        seconds[0] = moment / 20
        for node in range(3):
            tape.handle(record("aiokafka", "Unable connect to node with id %s: %s", node, f"port {moment}"))
            tape.handle(record("aiokafka.consumer.fetcher", "Failed fetch messages from %s: %s", node, "gone"))
    assert len(tape.lines) == 4
    assert tape.lines[0] == "Unable connect to node with id 0: port 0"
    assert "said 3599 more times" in tape.lines[2]


def test_another_text_level_or_logger_is_another_cause_and_is_shown_at_once() -> None:
    tape = Tape([0.0])
    for _ in range(2):
        tape.handle(record("aiokafka", "one"))
        tape.handle(record("aiokafka", "two"))
        tape.handle(record("aiokafka", "one", level=logging.WARNING))
        tape.handle(record("aiokafka.conn", "one"))
    assert tape.lines == ["one", "two", "one", "one"]


def test_our_own_lines_all_pass() -> None:
    tape = Tape([0.0])
    for _ in range(3):
        tape.handle(record("tidewind.bus.consumer", "The consumer failed and is started again"))
    assert len(tape.lines) == 3


def test_texts_made_up_as_they_come_do_not_fill_the_memory() -> None:
    seconds = [0.0]
    limit = OnceAMinute(lambda: seconds[0])
    for number in range(5000):
        assert limit.filter(record("aiokafka", f"text {number}"))
    assert len(limit._said) <= 500


def test_a_service_s_log_has_the_limit(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        configure_logs("restorer", log_format="json", level="INFO")
        for port in range(50):
            logging.getLogger("aiokafka").error("Unable connect to node with id %s: %s", 1, port)
        structlog.get_logger().info("ours", action="x")
        lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()
    assert [line["event"] for line in lines] == ["Unable connect to node with id 1: 0", "ours"]
    assert SAID_AGAIN_S == 60
