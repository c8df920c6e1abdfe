"""Secrets of the store by reference, read when it is opened."""

from tidewind.domain.problems import Refused
from tidewind.ports.store import StoreMisconfigured
from tidewind.runtime.secrets import resolve


def read_reference(reference: str, what: str) -> str:
    """The text a reference names, without surrounding white space. Raises StoreMisconfigured naming `what` and the
    reference, never the secret."""
    try:
        text = resolve(reference).strip()
    except Refused as refusal:
        cause = f"{what}: {refusal.problem.detail}"
        raise StoreMisconfigured("read a secret", "", cause, refusal.problem.next_step or "") from None
    if not text:
        raise StoreMisconfigured("read a secret", "", f"{what}: {reference} is empty", "put the secret where it points")
    return text
