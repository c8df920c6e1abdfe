"""Command lines from words to messages, and from answers to exit codes, without a network."""

import json
import os
import stat
from pathlib import Path

import pytest

from schemas.commands import COMMANDS, INTERNAL
from schemas.events import TERMINAL
from tests.unit.cli.stand_ins import Answered, ScriptedLine, ScriptedTools, accepted, message, rejected
from tests.unit.cli.test_views import PLAN, SHOP
from tidewind.cli import application, commands
from tidewind.cli.bootstrap import KeyringKeys, SystemTools
from tidewind.cli.commands import cluster as cluster_commands
from tidewind.cli.ports import Check, Statuses
from tidewind.domain.ids import restore_id
from tidewind.domain.problems import KINDS, problem
from tidewind.store.keyring import Keyring

ENROLL = [
    "cluster",
    "enroll",
    "shop",
    "--engine",
    "mariadb",
    "--region",
    "eu-central-1",
    "--endpoint",
    "db-1:3306",
    "--endpoint",
    "[::1]:3307",
    "--credentials",
    "env:SHOP",
]
JOB = "00000000-0000-5000-8000-000000000000"
RESTORE = "rst_8MM0A1B2C3"
BACKUP = "bkp_4TZ0A1B2C3"
RESTORES = SHOP | {
    f"restore/shop/{RESTORE}": {
        "cluster_id": "shop",
        "restore_id": RESTORE,
        "mode": "snapshot",
        "state": "completed",
        "step": "opened",
        "started_at": "2026-11-23T10:00:00Z",
        "ended_at": "2026-11-23T10:14:00Z",
    },
    f"backup/shop/{BACKUP}": SHOP["backup/shop/bkp_4TZ0000000"] | {"backup_id": BACKUP},
}


def execute(arguments, tools):
    return application.execute(arguments, lambda: tools)


def _never(_):
    raise AssertionError("nothing must be sent")


def _refuse(name, detail="because"):
    return lambda command: Answered(reply=rejected(command, problem(name, detail).model_dump(mode="json")))


def _end(kind, data, answer=None):
    body = {"cluster_id": "shop", "job_id": JOB, **data}
    return lambda command: Answered(reply=accepted(command, answer), terminal=message(kind, body))


def _tools(script=_never, **more):
    typed = more.pop("typed", [])
    return ScriptedTools(ScriptedLine(script, **more), typed=typed)


def test_enrolling_ends_when_the_cluster_is_listed(monkeypatch, capsys):
    tools = _tools(_end("tidewind.cluster.enrolled.v1", {"engine": "mariadb"}))
    asked = []

    async def statuses(**_):
        asked.append(1)
        return Statuses(SHOP if len(asked) > 2 else {})

    monkeypatch.setattr(tools.the_line, "statuses", statuses)
    monkeypatch.setattr(cluster_commands, "LOOK_S", 0.01)
    assert execute(ENROLL, tools) == 0
    assert len(asked) == 3
    assert "taken shop up" not in capsys.readouterr().err


def test_an_enrolment_that_no_scheduler_takes_up_is_said_and_stays_a_success(monkeypatch, capsys):
    monkeypatch.setattr(cluster_commands, "LISTED_S", 0.05)
    assert execute(ENROLL, _tools(_end("tidewind.cluster.enrolled.v1", {"engine": "mariadb"}))) == 0
    assert "has not taken shop up yet" in capsys.readouterr().err


def test_enrolling_sends_exactly_what_was_said(capsys):
    enrolled = {
        "engine": "mariadb",
        "engine_version": "10.11.19",
        "region": "eu-central-1",
        "zone": "Europe/Berlin",
        "setting": {"backup_time": None, "retention_days": 7},
    }
    tools = _tools(
        _end("tidewind.cluster.enrolled.v1", enrolled, {"warnings": ["strict mode is off → SET …"]}), states=SHOP
    )
    assert execute(ENROLL, tools) == 0
    (sent,) = tools.the_line.sent
    assert sent.type == "tidewind.cluster.enroll.v1"
    assert sent.key == "shop"
    assert sent.idempotency_key == "cli-11111111-2222-4333-8444-555555555555"
    assert sent.actor
    assert "@" in sent.actor
    assert sent.data == {
        "cluster_id": "shop",
        "engine": "mariadb",
        "region": "eu-central-1",
        "credentials": "env:SHOP",
        "endpoints": [{"host": "db-1", "port": 3306}, {"host": "::1", "port": 3307}],
    }
    shown = capsys.readouterr()
    assert "daily at 02:00 in Europe/Berlin (the default)" in shown.out
    assert "strict mode is off" in shown.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--retention-days", "6"], "setting.retention_days: must be from 7 to 90 days; 6 is outside"),
        (["--retention-days", "91"], "91 is outside"),
        (["--retention-days", "0"], "0 is outside"),
        (["--retention-days", "-1"], "-1 is outside"),
        (["--retention-days", "7.5"], "must be a whole number of days from 7 to 90"),
        (["--retention-days", "seven"], "must be a whole number of days from 7 to 90"),
        (["--backup-time", "24:00"], 'must be a local time of day as "HH:MM"'),
        (["--backup-time", "2am"], 'must be a local time of day as "HH:MM"'),
        (["--endpoint", "db-1"], "endpoint: 'db-1' is not host:port"),
        (["--endpoint", "db-1:99999"], "endpoints.2.port"),
        (["--endpoint", "::1:3306"], "is not host:port"),
        (["--credentials", "root:secret"], "must name where the secret is, never the secret"),
        (["--replicas", "many"], "replicas"),
        (["--tls", "sometimes"], "tls.mode"),
    ],
)
def test_bad_input_is_refused_before_anything_is_sent(options, said, capsys):
    assert execute([*ENROLL, *options], _tools()) == 64
    shown = capsys.readouterr().err
    assert said in shown
    assert "next" in shown


@pytest.mark.parametrize("name", ["Shop", "shop_1", "-shop", "a/../b", "shop\n", "🙂", "s" * 64, "'; DROP TABLE x; --"])
def test_a_cluster_id_that_is_none(name, capsys):
    assert execute(["cluster", "update", "--region", "eu-central-1", "--", name], _tools()) == 64
    shown = capsys.readouterr().err
    assert "cluster_id: must be lower-case letters, digits and hyphens" in shown
    assert "\n🙂" not in shown


def test_an_update_must_change_something(capsys):
    assert execute(["cluster", "update", "shop"], _tools()) == 64
    assert "names nothing to change" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [name for name in KINDS if name != "internal-error"])
def test_every_rejection_has_its_exit_code(kind, capsys):
    assert (
        execute(["setting", "set", "--cluster", "shop", "--reset"], _tools(_refuse(kind, "that is why")))
        == KINDS[kind].exit_code
    )
    shown = capsys.readouterr().err
    assert f"could not set the backups of shop: that is why  [{kind}]" in shown
    assert "nothing was done and nothing will be" in shown
    assert KINDS[kind].next_step in shown


def test_a_rejection_for_programs(capsys):
    assert (
        execute(["-v", "setting", "set", "-c", "shop", "--reset", "-o", "json"], _tools(_refuse("unknown-cluster")))
        == 66
    )
    document = json.loads(capsys.readouterr().out)
    assert document["problem"]["type"] == "urn:tidewind:problem:unknown-cluster"


def test_without_kafka_nothing_was_sent(capsys):
    assert execute(["setting", "set", "-c", "shop", "--reset"], _tools(down=True)) == 75
    shown = capsys.readouterr().err
    assert "nothing was sent" in shown
    assert "--idempotency-key cli-11111111-2222-4333-8444-555555555555" in shown


def test_without_an_acknowledgement_the_key_to_repeat_with_is_shown(capsys):
    assert execute(["setting", "set", "-c", "shop", "--reset", "--idempotency-key", "mine"], _tools(silent=True)) == 75
    shown = capsys.readouterr().err
    assert "may have been stored or not" in shown
    assert "--idempotency-key mine" in shown


def test_without_an_answer_the_command_waits_for_a_service(capsys):
    assert execute(["setting", "set", "-c", "shop", "--reset"], _tools(lambda _: Answered())) == 75
    assert "no service has answered" in capsys.readouterr().err


def test_reading_without_kafka(capsys):
    assert execute(["cluster", "list"], _tools(down=True)) == 69
    assert "did not answer" in capsys.readouterr().err


def test_no_wait_ends_when_it_is_accepted(capsys):
    tools = _tools(lambda command: Answered(reply=accepted(command)))
    assert execute(["setting", "set", "-c", "shop", "--no-wait", "--retention-days", "30"], tools) == 0
    assert f"accepted as job {JOB}" in capsys.readouterr().out
    assert tools.the_line.sent[0].data == {"cluster_id": "shop", "retention_days": 30}


def test_a_shorter_retention_lists_what_may_go(capsys):
    data = {"setting": {"retention_days": 7, "backup_time": "03:30"}, "zone": "Europe/Berlin", "now_eligible": [BACKUP]}
    tools = _tools(_end("tidewind.backup-setting.changed.v1", data))
    assert execute(["setting", "set", "-c", "shop", "--backup-time", "03:30"], tools) == 0
    shown = capsys.readouterr().out
    assert "daily at 03:30 in Europe/Berlin" in shown
    assert f"may be removed now: {BACKUP}" in shown


def test_names_that_are_near(capsys):
    assert execute(["cluster", "show", "shpo"], _tools(states=SHOP)) == 66
    assert "near  shop" in capsys.readouterr().err
    assert execute(["backup", "show", "bkp_4TZ0000001"], _tools(states=SHOP)) == 66
    assert "bkp_4TZ0000000" in capsys.readouterr().err
    assert execute(["restor", "run"], _tools()) == 64
    assert "Did you mean 'restore'?" in capsys.readouterr().err
    assert execute(["restore", "run", "--clutser", "shop"], _tools()) == 64
    assert "--cluster" in capsys.readouterr().err


def test_a_group_alone_shows_its_help(capsys):
    assert execute(["restore"], _tools()) == 64
    assert "undo" in capsys.readouterr().err
    assert execute(["--help"], _tools()) == 0


def test_what_is_shown_for_programs_is_what_the_topic_holds(capsys):
    assert execute(["backup", "list", "-c", "shop", "-o", "json"], _tools(states=SHOP)) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [one["backup_id"] for one in shown] == ["bkp_4TZ0000000", "bkp_4SY0000000", "bkp_4RX0000000"]
    assert shown[0] == SHOP["backup/shop/bkp_4TZ0000000"]


def test_deleting_asks_for_the_name_of_the_cluster(capsys):
    done = _end("tidewind.backup.deleted.v1", {"backup_id": BACKUP, "cause": "manual", "freed_bytes": 5})
    tools = _tools(done, states=RESTORES, typed=["shop "])
    assert execute(["backup", "delete", BACKUP], tools) == 0
    assert tools.the_line.sent[0].data == {"cluster_id": "shop", "backup_id": BACKUP}
    assert "deletes backup" in tools.questions[0]

    assert execute(["backup", "delete", BACKUP], _tools(states=RESTORES, typed=["yes"])) == 1
    assert "nothing was done" in capsys.readouterr().err
    assert execute(["backup", "delete", BACKUP], _tools(states=RESTORES)) == 64
    assert "--yes shop" in capsys.readouterr().err
    assert execute(["backup", "delete", BACKUP, "--yes", "shpo"], _tools(states=RESTORES)) == 64
    assert "does not name the cluster" in capsys.readouterr().err
    again = _tools(done, states=RESTORES)
    assert execute(["backup", "delete", BACKUP, "--yes", "shop", "--confirm-shorter-window"], again) == 0
    assert again.the_line.sent[0].data["confirm_shorter_window"] is True


def test_damage_found_by_verify_fails(capsys):
    damage = {
        "backup_id": BACKUP,
        "damaged": [],
        "problem": problem("backup-damaged", "chunk 17").model_dump(mode="json"),
    }
    tools = _tools(_end("tidewind.backup.damaged.v1", damage), states=RESTORES)
    assert execute(["backup", "verify", BACKUP], tools) == 74
    assert "chunk 17" in capsys.readouterr().err


@pytest.mark.parametrize(
    "target",
    [[], ["--backup", BACKUP, "--to-time", "2026-11-23T10:00:00Z"], ["--to-time", "1 h ago", "--to-position", "0-1-5"]],
)
def test_a_restore_goes_to_exactly_one_point(target, capsys):
    for deed in ("plan", "run"):
        assert execute(["restore", deed, "-c", "shop", *target], _tools()) == 64
        assert "exactly one point" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [("2026-11-23 10:31", "names no zone"), ("yesterday", "is not a time"), ("10:31", "is not a time")],
)
def test_a_time_names_its_zone(text, said, capsys):
    assert execute(["restore", "plan", "-c", "shop", "--to-time", text], _tools()) == 64
    assert said in capsys.readouterr().err


def test_times_are_sent_in_utc():
    for text, sent in (
        ("2026-11-23T11:31:52+01:00", "2026-11-23T10:31:52Z"),
        ("10 minutes ago", "2026-11-23T10:31:09Z"),
    ):
        tools = _tools(_refuse("target-outside"))
        assert execute(["restore", "plan", "-c", "shop", "--to-time", text], tools) == 65
        assert tools.the_line.sent[0].data["target_time"] == sent


def _planned_then(kind, data):
    """A dry run is answered with the plan, anything else ends as said."""
    end = _end(kind, data)

    def script(command):
        if command.data.get("dry_run"):
            return Answered(reply=accepted(command, {"plan": PLAN}))
        return end(command)

    return script


COMPLETED = {
    "restore_id": RESTORE,
    "mode": "snapshot",
    "backup_id": BACKUP,
    "timeline": "tl_9XK0000000",
    "closed_ms": 1000,
    "duration_ms": 2000,
    "tables": 3,
    "rows": 4,
    "way_back": "",
}


def test_a_restore_shows_its_plan_asks_and_confirms_the_plan_it_showed(capsys):
    tools = _tools(_planned_then("tidewind.restore.completed.v1", COMPLETED), states=SHOP, typed=["shop"])
    assert execute(["restore", "run", "-c", "shop", "--backup", BACKUP], tools) == 0
    dry, real = tools.the_line.sent
    assert dry.data == {"cluster_id": "shop", "mode": "snapshot", "backup_id": BACKUP, "dry_run": True}
    assert real.data == {"cluster_id": "shop", "mode": "snapshot", "backup_id": BACKUP, "plan_hash": "5f3c91a0b4"}
    shown = capsys.readouterr()
    assert "way back  undo keeps" in shown.err
    assert "shop is open, back to" in shown.out


def test_nothing_happens_without_the_name(capsys):
    tools = _tools(_planned_then("tidewind.restore.completed.v1", COMPLETED), states=SHOP, typed=["y"])
    assert execute(["restore", "run", "-c", "shop", "--backup", BACKUP], tools) == 1
    assert [command.data.get("dry_run") for command in tools.the_line.sent] == [True]


def test_a_blocked_restore_is_not_asked_about(capsys):
    blocked = PLAN | {"blockers": ["too little space"]}
    tools = _tools(lambda command: Answered(reply=accepted(command, {"plan": blocked})), states=SHOP, typed=["shop"])
    assert execute(["restore", "run", "-c", "shop", "--backup", BACKUP], tools) == 65
    assert tools.questions == []
    assert "too little space" in capsys.readouterr().err
    assert execute(["restore", "plan", "-c", "shop", "--backup", BACKUP], tools) == 65


LOOKED_AT = ["restore", "run", "-c", "shop", "--backup", BACKUP, "--plan", "5f3c91", "--yes", "shop"]


def test_a_plan_that_was_looked_at_is_shown_again_as_it_is_now(capsys):
    """The hash does not cover what the cluster holds: a database made since is only seen by whoever looks again."""
    gone = {"schema": "newer", "table": "t", "fate": "disappears", "rows_now": 3, "rows_then": None}
    now = PLAN | {"tables": [gone]}
    end = _end("tidewind.restore.completed.v1", COMPLETED)

    def answer(command):
        return Answered(reply=accepted(command, {"plan": now})) if command.data.get("dry_run") else end(command)

    tools = _tools(answer, states=SHOP)
    assert execute([*LOOKED_AT, "--reason", "oops"], tools) == 0
    dry, real = tools.the_line.sent
    assert (dry.data["dry_run"], dry.data["plan_hash"]) == (True, "5f3c91")
    assert (real.data["plan_hash"], real.data["reason"]) == ("5f3c91", "oops")
    assert "newer" in capsys.readouterr().err


@pytest.mark.parametrize("more", [["--output", "json"], ["--idempotency-key", "cli-1111"]])
def test_a_script_and_a_repeated_command_are_shown_no_plan_again(more):
    tools = _tools(_end("tidewind.restore.completed.v1", COMPLETED), states=SHOP)
    assert execute([*LOOKED_AT, *more], tools) == 0
    assert [command.data.get("dry_run") for command in tools.the_line.sent] == [None]


def test_an_unacknowledged_restore_shows_the_whole_line_to_repeat(capsys):
    repeat = f"tidewind restore run --cluster shop --backup {BACKUP} --plan 5f3c91 --yes shop"
    assert execute([*LOOKED_AT, "--idempotency-key", "mine"], _tools(silent=True)) == 75
    assert f"{repeat} --idempotency-key mine\n" in capsys.readouterr().err
    assert execute(LOOKED_AT, _tools(silent=True)) == 75
    assert f"{repeat}\n" in capsys.readouterr().err, "the key of the look at the plan is not that of the restore"


@pytest.mark.parametrize("returned", [True, False])
def test_a_failed_restore_says_what_is_safe(returned, capsys):
    failed = {
        "restore_id": RESTORE,
        "mode": "snapshot",
        "step": "loaded",
        "returned": returned,
        "problem": problem("backup-damaged", "chunk 17").model_dump(mode="json"),
        "open_by_hand": ["RENAME TABLE a TO b;"],
    }
    tools = _tools(_end("tidewind.restore.failed.v1", failed), states=SHOP)
    assert (
        execute(["restore", "run", "-c", "shop", "--backup", BACKUP, "--plan", "5f3c91", "--yes", "shop"], tools) == 74
    )
    shown = capsys.readouterr().err
    assert f"restore {RESTORE} stopped at loaded: chunk 17" in shown
    assert ("nothing was lost" in shown) is returned
    assert ("RENAME TABLE a TO b;" in shown) is not returned


def test_a_cancelled_restore_is_no_success(capsys):
    tools = _tools(
        _end("tidewind.restore.cancelled.v1", {"restore_id": RESTORE, "step": "loaded", "return_ms": 5}), states=SHOP
    )
    assert (
        execute(["restore", "run", "-c", "shop", "--backup", BACKUP, "--plan", "5f3c91", "--yes", "shop"], tools) == 75
    )


def test_undo_and_cancel_find_the_cluster_by_the_restore():
    tools = _tools(_end("tidewind.restore.completed.v1", COMPLETED | {"mode": "undo"}), states=RESTORES, typed=["shop"])
    assert execute(["restore", "undo", RESTORE], tools) == 0
    assert tools.the_line.sent[0].data == {"cluster_id": "shop", "restore_id": RESTORE}
    cancel = _tools(
        _end("tidewind.restore.cancel-ended.v1", {"restore_id": RESTORE, "outcome": "cancelled"}), states=RESTORES
    )
    assert execute(["restore", "cancel", RESTORE], cancel) == 0
    assert cancel.the_line.sent[0].type == "tidewind.restore.cancel.v1"


def test_ctrl_c_leaves_it_running_and_says_how_to_return(capsys):
    tools = _tools(lambda command: Answered(reply=accepted(command)), states=SHOP, interrupted=True)
    line = ["restore", "run", "-c", "shop", "--backup", BACKUP, "--plan", "5f3c91", "--yes", "shop"]
    assert execute(line, tools) == 130
    shown = capsys.readouterr().err
    assert "it goes on without you" in shown
    assert "tidewind restore status rst_" in shown
    assert "tidewind restore cancel rst_" in shown


def test_no_wait_names_the_restore(capsys):
    tools = _tools(lambda command: Answered(reply=accepted(command)), states=SHOP)
    line = [
        "restore",
        "run",
        "-c",
        "shop",
        "--backup",
        BACKUP,
        "--plan",
        "5f3c91",
        "--yes",
        "shop",
        "--no-wait",
        "-o",
        "json",
    ]
    assert execute(line, tools) == 0
    named = json.loads(capsys.readouterr().out)["restore_id"]
    assert named.startswith("rst_")
    assert named != restore_id(JOB), "it follows from the message that was sent"


def test_doctor_fails_for_errors_only(capsys):
    tools = _tools()
    tools.checks = [Check(group="store", level="warn", text="slow", fix="buy a faster one")]
    assert execute(["doctor"], tools) == 0
    tools.checks = [Check(group="store", level="error", text="gone")]
    assert execute(["doctor"], tools) == 1
    assert execute(["doctor", "-o", "json"], tools) == 1
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == [
        {"group": "store", "level": "error", "text": "gone", "fix": None}
    ]


def test_a_new_keyring_is_private_and_never_overwritten(tmp_path, capsys):
    tools = _tools()
    tools.the_keys = KeyringKeys()
    path = tmp_path / "keyring"
    assert execute(["key", "init", str(path)], tools) == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    first = Keyring.parse(path.read_text())
    shown = capsys.readouterr()
    assert f"TIDEWIND_KEYRING=file:{path}" in shown.out
    assert path.read_text().split(":")[1].strip() not in shown.out + shown.err, "the key itself is not shown"

    assert execute(["key", "init", str(path)], tools) == 65
    assert Keyring.parse(path.read_text()) == first
    assert execute(["key", "init", str(path), "--add", "--name", "next"], tools) == 0
    both = Keyring.parse(path.read_text())
    assert both.active == "next"
    assert both.keys["key-2026-11"] == first.keys["key-2026-11"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert execute(["key", "init", str(tmp_path / "none"), "--add"], tools) == 66
    assert execute(["key", "init", str(path / "below-a-file")], tools) == 74
    assert "next" in capsys.readouterr().err


def test_settings_come_from_a_file_that_loses_to_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("TIDEWIND_KAFKA_PREFIX", "mine.")
    monkeypatch.delenv("TIDEWIND_KAFKA_BOOTSTRAP", raising=False)
    settings = tmp_path / "env"
    settings.write_text("TIDEWIND_KAFKA_BOOTSTRAP=kafka-9:9092\nTIDEWIND_KAFKA_PREFIX=theirs.\n")
    try:
        assert execute(["--env-file", str(settings), "version"], _tools()) == 0
        assert os.environ["TIDEWIND_KAFKA_BOOTSTRAP"] == "kafka-9:9092"
        assert os.environ["TIDEWIND_KAFKA_PREFIX"] == "mine."
    finally:
        os.environ.pop("TIDEWIND_KAFKA_BOOTSTRAP", None)
    assert execute(["--env-file", str(tmp_path / "none"), "version"], _tools()) == 64


def test_wrong_settings_are_named_by_their_variable(monkeypatch, capsys):
    monkeypatch.setenv("TIDEWIND_KAFKA_BOOTSTRAP", "kafka")
    assert execute(["cluster", "list"], SystemTools()) == 78
    assert 'TIDEWIND_KAFKA_BOOTSTRAP  "kafka" is not host:port' in capsys.readouterr().err


def test_every_command_of_the_contract_can_be_given():
    """Nothing in the contract is out of the operator's reach."""
    assert set(COMMANDS) == set(TERMINAL)
    sources = "".join(path.read_text() for path in Path(commands.__file__).parent.glob("*.py"))
    assert [name for name in COMMANDS if name not in INTERNAL and f'"{name}"' not in sources] == []


def test_to_watch_a_mistyped_cluster_is_no_endless_silence(capsys):
    assert execute(["watch", "-c", "shpo"], _tools(states=SHOP)) == 66
    shown = capsys.readouterr().err
    assert ("there is no cluster shpo" in shown, "near  shop" in shown) == (True, True)
