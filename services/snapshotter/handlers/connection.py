"""Reaching a cluster by its registry entry: addresses and resolved logins."""

from dataclasses import dataclass

from schemas.commands import DatabaseTls, Endpoint
from tidewind.ports.engine import Address, Login
from tidewind.runtime.secrets import resolve_login


@dataclass(frozen=True)
class Connection:
    address: Address
    login: Login
    restore_login: Login | None


def connection(
    cluster_id: str,
    endpoints: tuple[Endpoint, ...],
    credentials: str,
    restore_credentials: str | None,
    tls: DatabaseTls | None,
) -> Connection:
    """Resolve the references now. Raises Refused (secret-unavailable)."""
    return Connection(
        address=Address(cluster_id=cluster_id, endpoints=endpoints, tls=tls),
        login=resolve_login(credentials),
        restore_login=resolve_login(restore_credentials) if restore_credentials else None,
    )
