"""What somebody meets who has nothing but the README."""

import os
import stat
from pathlib import Path

import pytest

from schemas.topics import EVENTS
from tests.unit.cli.stand_ins import NOW, Answered, ScriptedLine, ScriptedTools, accepted, drawn, message, rejected
from tests.unit.cli.test_views import SHOP
from tidewind.cli import application
from tidewind.cli.bootstrap import KeyringKeys, SystemTools, connection
from tidewind.cli.commands import watch as watching
from tidewind.cli.endings import INTERRUPTED, Left
from tidewind.cli.ports import Check
from tidewind.cli.screen import Output, Screen
from tidewind.cli.serving import environment_of_services
from tidewind.cli.session import ending
from tidewind.cli.settings import settings_checks
from tidewind.cli.views.findings import verdict
from tidewind.cli.views.stretches import window_lines
from tidewind.domain.problems import problem
from tidewind.environment import store_settings
from tidewind.ports.bus import BusError
from tidewind.runtime.secrets import resolve

SETTING = {"setting/shop": SHOP["setting/shop"] | {"setting": {"backup_time": "03:30", "retention_days": 30}}}


def _tools(script=None, **more):
    return ScriptedTools(ScriptedLine(script or (lambda _: Answered()), **more))


def _execute(words, tools):
    return application.execute(words, lambda: tools)


def _changed(command):
    body = {"cluster_id": "shop", "setting": command.data, "zone": "Europe/Berlin", "now_eligible": []}
    return Answered(reply=accepted(command), terminal=message("tidewind.backup-setting.changed.v1", body))


def test_the_keyring_s_folder_is_made_and_private(tmp_path):
    tools = _tools()
    tools.the_keys = KeyringKeys()
    path = tmp_path / "tidewind" / "keyring"
    assert _execute(["key", "init", str(path)], tools) == 0
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("url", "group", "text", "fix"),
    [
        (None, "store", "TIDEWIND_STORE_URL is not set", "export TIDEWIND_STORE_URL=file:///var/backups/tidewind"),
        ("file:///x", "key", "TIDEWIND_KEYRING is not set", "export TIDEWIND_KEYRING=file:/etc/tidewind/keyring"),
        ("x", "store", "TIDEWIND_STORE_URL name the store as", "export TIDEWIND_STORE_URL=file:"),
    ],
)
def test_a_missing_setting_is_named_under_what_it_is_about(url, group, text, fix, monkeypatch):
    for name in ("TIDEWIND_STORE_URL", "TIDEWIND_KEYRING"):
        monkeypatch.delenv(name, raising=False)
    if url is not None:
        monkeypatch.setenv("TIDEWIND_STORE_URL", url)
    with pytest.raises(ValueError, match="validation error") as wrong:
        store_settings()
    (found,) = settings_checks(wrong.value, "TIDEWIND_STORE_")
    assert found.group == group
    assert found.text.startswith(text)
    assert fix in found.fix


def test_settings_that_do_not_go_together_name_their_beginning(monkeypatch):
    monkeypatch.setenv("TIDEWIND_KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    with pytest.raises(Exception, match="a setting is missing or wrong") as wrong:
        connection()
    assert wrong.value.lines[0][0] == "TIDEWIND_KAFKA_*"


def test_what_the_bus_says_to_do_is_shown(capsys):
    assert ending(Screen.of_process(Output.table), BusError("too few brokers", "export X=1")) == 69
    assert "next  export X=1" in capsys.readouterr().err
    assert _execute(["cluster", "list"], _tools(down=True)) == 69
    assert "next  start Kafka, or name another" in capsys.readouterr().err


def test_a_variable_that_is_missing_is_missing_where_the_services_run(monkeypatch):
    monkeypatch.delenv("SHOP_LOGIN", raising=False)
    with pytest.raises(Exception, match="SHOP_LOGIN is not set") as refused:
        resolve("env:SHOP_LOGIN")
    assert "where the services run" in refused.value.problem.next_step
    assert "restart" in refused.value.problem.next_step


@pytest.mark.parametrize(("terminal", "chosen"), [("1", "console"), ("0", "json")])
def test_logs_are_for_people_on_a_terminal(terminal, chosen, monkeypatch):
    monkeypatch.delenv("TIDEWIND_LOG_FORMAT", raising=False)
    monkeypatch.setenv("TTY_COMPATIBLE", terminal)
    assert environment_of_services(Screen.of_process(Output.table))["TIDEWIND_LOG_FORMAT"] == chosen
    monkeypatch.setenv("TIDEWIND_LOG_FORMAT", "json")
    assert environment_of_services(Screen.of_process(Output.table))["TIDEWIND_LOG_FORMAT"] == "json"


def test_a_name_that_was_mistyped_is_answered_with_the_near_one(capsys):
    def refuse(command):
        return Answered(reply=rejected(command, problem("unknown-cluster", "no").model_dump(mode="json")))

    words = ["cluster", "retire", "shpo", "--yes", "shpo"]
    assert _execute(words, _tools(refuse, states=SHOP)) == 66
    assert "Did you mean shop?" in capsys.readouterr().err


def test_what_is_left_out_of_a_setting_stays_as_it_is(capsys):
    tools = _tools(_changed, states=SHOP | SETTING)
    assert _execute(["setting", "set", "-c", "shop", "--retention-days", "8"], tools) == 0
    assert tools.the_line.sent[0].data == {"cluster_id": "shop", "backup_time": "03:30", "retention_days": 8}
    shown = capsys.readouterr().out
    assert "at least 8 days, was at least 30 days" in shown
    assert shown.count("was") == 1


def test_a_setting_goes_back_to_its_defaults_only_when_told():
    tools = _tools(_changed, states=SHOP | SETTING)
    assert _execute(["setting", "set", "-c", "shop"], tools) == 64
    assert tools.the_line.sent == []
    assert _execute(["setting", "set", "-c", "shop", "--reset", "--retention-days", "8"], tools) == 0
    assert tools.the_line.sent[0].data == {"cluster_id": "shop", "retention_days": 8}


def test_leaving_is_no_error(capsys):
    assert ending(Screen.of_process(Output.table), Left(INTERRUPTED, "left running")) == 130
    assert capsys.readouterr().err == " · left running\n"


def test_a_refusal_does_not_stand_in_the_line_of_the_question(monkeypatch, capsys):
    with Path(os.devnull).open() as nobody:
        monkeypatch.setattr("sys.stdin", nobody)
        with pytest.raises(EOFError):
            SystemTools().ask("Type: ")
    assert capsys.readouterr().out == "Type: \n"


@pytest.mark.parametrize(("more", "told"), [([], False), (["--plans"], True)])
def test_plans_are_no_events_to_be_watched(more, told, capsys):
    tools = _tools()
    seen = [message("tidewind.restore.planned.v1", {"cluster_id": "shop"})]

    class Feed:
        async def __aenter__(self):
            return self

        async def __aexit__(self, *_):
            return None

        async def read(self):
            if not seen:
                raise KeyboardInterrupt
            return [seen.pop()]

    tools.the_line.feed = lambda topics, **_: Feed() if topics == [EVENTS] else None
    assert seen[0].type == watching.PLANNED
    assert _execute(["watch", *more], tools) == 130
    assert ("a restore was planned" in capsys.readouterr().out) is told


def test_a_delete_tells_what_can_be_restored_now():
    stretches = [{"timeline": "main", "start": at, "end": at} for at in ("2026-11-22T01:00:00Z", NOW.isoformat())]
    lines = window_lines({"shorter": True, "before": stretches, "after": stretches[:1]}, "UTC")
    assert [drawn(line) for line in lines] == [
        " can no longer be restored: 2026-11-23 10:41:09 UTC",
        " can still be restored: 2026-11-22 01:00:00 UTC",
    ]
    (both,) = window_lines({"shorter": False, "before": stretches, "after": stretches}, "UTC")
    assert "2 points from 2026-11-22 01:00:00 UTC to 2026-11-23 10:41:09 UTC" in drawn(both)
    assert window_lines(None, "UTC") == []
    (none,) = window_lines({"shorter": True, "before": stretches, "after": []}, "UTC")
    assert "nothing can be restored" in drawn(none)


def test_restores_have_a_verdict_of_their_own():
    well = Check(group="store", level="ok", text="well")
    lacking = Check(group="shop restores", level="warn", text="the account for restores lacks DROP", fix="GRANT …")
    assert "Backups work; restores are refused" in verdict([well, lacking]).plain
    broken = Check(group="key", level="error", text="gone")
    assert "relied on" in verdict([well, lacking, broken]).plain
