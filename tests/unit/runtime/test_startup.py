"""What a service's process ends with when it cannot start: a supervisor must know whether starting again may help."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tidewind.ports.bus import BusUnavailable
from tidewind.ports.store import KeyMissing, StoreError, StoreForeign, StoreRefused, StoreUnavailable
from tidewind.runtime.startup import run_service
from tidewind.store.factory import StoreSettings


def failing(error: Exception) -> Callable[[], int]:
    def serve() -> int:
        raise error

    return serve


def opening(keyring: str) -> Callable[[], int]:
    """A service that gets as far as its keyring."""

    def serve() -> int:
        StoreSettings(url="file:///nowhere", keyring=keyring).load_keyring()
        return 0

    return serve


def test_a_keyring_that_cannot_be_read_is_a_wrong_setting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    garbled = tmp_path / "garbled"
    garbled.write_text("prod-2026: not base64")
    (tmp_path / "empty").write_text("\n")
    monkeypatch.delenv("NO_SUCH_KEYRING", raising=False)
    for reference in (
        f"file:{garbled}",
        f"file:{tmp_path / 'empty'}",
        f"file:{tmp_path / 'gone'}",
        "env:NO_SUCH_KEYRING",
    ):
        assert run_service("restorer", opening(reference)) == 78, reference
        said = capsys.readouterr().err
        assert "tidewind restorer cannot start" in said
        assert "next: " in said


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyMissing("read", "repository.json", "the key prod-2026 is not in the keyring"), 78),
        (StoreForeign("open the repository", "repository.json", "the store belongs to another deployment"), 78),
        (StoreUnavailable("list", "", "no answer"), 69),
        (StoreRefused("list", "", "denied"), 69),
        (BusUnavailable("Kafka does not answer"), 69),
    ],
)
def test_what_starting_again_may_mend_is_told_from_what_it_cannot(error: StoreError, code: int) -> None:
    assert run_service("restorer", failing(error)) == code
