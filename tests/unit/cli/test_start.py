"""How fast `tidewind` begins: what is not needed is not imported. Looked at in processes of their own."""

import pytest

from tests.loaded_modules import CLIENTS, loaded, loaded_in_turn
from tidewind.cli import application
from tidewind.cli.deferred import ENTRIES, load

FRAMEWORKS = {"pydantic", "rich", "asyncio", "structlog", "cryptography", "prometheus_client"}


def test_the_app_and_its_help_load_no_client_and_no_framework():
    code, modules = loaded("--help")
    assert code == 0
    assert modules & (CLIENTS | FRAMEWORKS) == set()
    assert [name for name in modules if name.startswith(("tidewind.cli.commands.", "schemas"))] == []


@pytest.fixture(scope="module")
def loaded_by_helps():
    loads = loaded_in_turn([(entry.name, "--help") for entry in ENTRIES])
    return {entry.name: load for entry, load in zip(ENTRIES, loads, strict=True)}


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_the_help_of_a_command_loads_no_client(entry, loaded_by_helps):
    code, modules = loaded_by_helps[entry.name]
    assert code == 0
    assert modules & CLIENTS == set()


def test_what_needs_no_kafka_loads_no_client(tmp_path):
    cases = (("version",), ("key", "init", str(tmp_path / "keyring")))
    for words, (code, modules) in zip(cases, loaded_in_turn(cases), strict=True):
        assert code == 0
        assert modules & CLIENTS == set(), words


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_the_listed_help_is_the_command_s_own(entry):
    assert load(entry.name).get_short_help_str(limit=200) == entry.help


def test_no_listed_help_is_cut_in_80_columns(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    assert application.execute(["--help"], lambda: None) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert [entry.name for entry in ENTRIES if f"{entry.name} {entry.help}" not in shown] == []


def test_a_typing_error_is_answered_with_the_nearest_command(capsys):
    assert application.execute(["restor", "run"], lambda: None) == 64
    assert "'restore'" in capsys.readouterr().err
