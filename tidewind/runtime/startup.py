"""How a service's process begins and ends: what keeps it from starting is one plain message, not a traceback."""

import sys
from collections.abc import Callable

from pydantic import ValidationError

from tidewind.domain.problems import Refused
from tidewind.ports.bus import BusError
from tidewind.ports.store import KeyMissing, StoreError, StoreForeign, StoreMisconfigured, StoreUnconditional

CONFIGURATION = 78
UNAVAILABLE = 69

_WRONG_SETTINGS = (KeyMissing, StoreForeign, StoreMisconfigured, StoreUnconditional)
"""Errors of the store that starting again does not mend: keyring, secrets or store are not those of this deployment."""


def run_service(name: str, serve: Callable[[], int]) -> int:
    """The exit code: 0 after a signal, 1 if a part died, 69 if Kafka or the store is away, 78 for wrong settings, a
    keyring that cannot be read, and a store that is not this deployment's."""
    try:
        return serve()
    except ValidationError as error:
        for detail in error.errors():
            field = ".".join(str(part) for part in detail["loc"]) or "settings"
            facts = detail.get("ctx", {})
            _say(name, f"{facts.get('variable', field)}: {detail['msg']}", facts.get("fix"))
        return CONFIGURATION
    except Refused as refusal:
        _say(name, refusal.problem.detail, refusal.problem.next_step)
        return CONFIGURATION
    except StoreError as error:
        _say(name, str(error), error.hint)
        return CONFIGURATION if isinstance(error, _WRONG_SETTINGS) else UNAVAILABLE
    except BusError as error:
        _say(name, str(error), error.hint)
        return UNAVAILABLE


def _say(name: str, text: str, next_step: str | None = None) -> None:
    following = f"\n  next: {next_step}" if next_step else ""
    sys.stderr.write(f"tidewind {name} cannot start: {text}{following}\n")
