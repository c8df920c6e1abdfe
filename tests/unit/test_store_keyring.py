"""Keyrings: text in, derived keys out, and nothing shown."""

import base64
import pickle
from pathlib import Path

import pytest

from tidewind.ports.store import KeyMissing, StoreRefused
from tidewind.store.keyring import KEY_BYTES, MINTED_ACCOUNTS, OBJECTS, Keyring, KeyringInvalid

KEY_A, KEY_B = bytes(range(32)), bytes(range(32, 64))
ENCODED_A, ENCODED_B = (base64.b64encode(key).decode() for key in (KEY_A, KEY_B))
TEXT = f"# made in November\n\nprod-2: {ENCODED_B}  # newest\nprod-1:{ENCODED_A}\n"


class Counting:
    def token(self, size: int) -> bytes:
        return bytes(range(size))


def test_the_first_key_is_the_active_one() -> None:
    keyring = Keyring.parse(TEXT)
    assert keyring.active == "prod-2"
    assert dict(keyring.keys) == {"prod-2": KEY_B, "prod-1": KEY_A}
    assert Keyring.parse(keyring.to_text()) == keyring


def test_commas_separate_keys_in_a_variable() -> None:
    one_line = ",".join(line for line in Keyring.parse(TEXT).to_text().splitlines())
    assert list(Keyring.parse(one_line).keys) == ["prod-2", "prod-1"]


def test_generated_keys_come_from_the_randomness_given() -> None:
    keyring = Keyring.generate("first", Counting())
    assert keyring.keys["first"] == bytes(range(KEY_BYTES))
    assert keyring.with_newest("second", Counting()).active == "second"
    with pytest.raises(KeyringInvalid, match="already"):
        keyring.with_newest("first", Counting())


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "no key"),
        ("# nothing\n", "no key"),
        ("just text", "line 1"),
        ("a: ???", "line 1: the key a is not base64"),
        ("\na: QUJD", "line 2: the key a has 3 bytes instead of 32"),
        (f"a: {base64.b64encode(KEY_A).decode()}\na: {base64.b64encode(KEY_B).decode()}", "line 2 names the key a"),
        (f"ä: {base64.b64encode(KEY_A).decode()}", "line 1"),
        (f"{'k' * 41}: {base64.b64encode(KEY_A).decode()}", "line 1"),
    ],
)
def test_a_bad_keyring_is_refused_by_line_and_shows_no_key(text: str, cause: str) -> None:
    with pytest.raises(KeyringInvalid, match=cause) as refused:
        Keyring.parse(text)
    assert base64.b64encode(KEY_A).decode() not in str(refused.value)
    assert "tidewind key init" in refused.value.hint


def test_no_key_is_shown() -> None:
    keyring = Keyring.parse(TEXT)
    shown = f"{keyring!r} {keyring} {keyring.check_value('prod-1')}"
    assert "prod-1" in shown
    for key in (KEY_A, KEY_B):
        assert repr(key) not in shown
        assert base64.b64encode(key).decode() not in shown
        assert key.hex() not in shown


def test_derived_keys_differ_by_purpose_and_key_and_stay_the_same() -> None:
    keyring = Keyring.parse(TEXT)
    derived = {
        keyring.derive(OBJECTS, 32),
        keyring.derive(MINTED_ACCOUNTS, 32),
        keyring.derive(OBJECTS, 32, key_id="prod-1"),
    }
    assert len(derived) == 3
    assert not derived & {KEY_A, KEY_B}
    assert keyring.derive(OBJECTS, 16, key_id="prod-1").hex() == "b6c281c270cb0e8cff4f52ca4100499c"
    assert keyring.check_value("prod-1") == "a27ea9c83b1a961d2adaf4228c4a3ca4"


def test_check_values_tell_the_right_key_from_a_wrong_one() -> None:
    right, wrong = Keyring({"k": KEY_A}), Keyring({"k": KEY_B})
    assert right.matches("k", right.check_value("k"))
    assert not wrong.matches("k", right.check_value("k"))


def test_a_missing_key_is_named() -> None:
    with pytest.raises(KeyMissing, match="prod-9") as missing:
        Keyring.parse(TEXT).derive(OBJECTS, 32, key_id="prod-9")
    assert "prod-9" in missing.value.hint
    assert "prod-1" in str(missing.value)


def test_load_follows_references(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "keyring"
    place.write_text(TEXT)
    assert Keyring.load(f"file:{place}").active == "prod-2"
    monkeypatch.setenv("SOME_KEYRING", TEXT)
    assert Keyring.load("env:SOME_KEYRING").active == "prod-2"
    monkeypatch.delenv("SOME_KEYRING")
    for reference, cause in (
        ("env:SOME_KEYRING", "SOME_KEYRING is not set"),
        (f"file:{place}.gone", "cannot be read"),
        (f"file:{tmp_path}", "cannot be read"),
        ("prod-1: AAAA", "named by reference"),
    ):
        with pytest.raises(StoreRefused, match=cause) as refused:
            Keyring.load(reference)
        assert refused.value.hint
        assert "AAAA" not in str(refused.value)


def test_errors_survive_the_way_between_processes() -> None:
    for error in (KeyringInvalid("bad"), KeyMissing("get", "k", "cause", "hint"), StoreRefused("put", "", "c", "h")):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert (str(again), again.key, again.hint) == (str(error), error.key, error.hint)
