"""Reaching a cluster by its registry entry, with the rights a restore needs."""

from dataclasses import dataclass

from tidewind.domain.records import RegistryEntry
from tidewind.ports.engine import Address, Login
from tidewind.runtime.secrets import resolve_login


@dataclass(frozen=True)
class Target:
    """`kept_users`: Tidewind's own accounts, which survive every restore."""

    address: Address
    login: Login
    kept_users: tuple[str, ...]


def target_of(entry: RegistryEntry) -> Target:
    """Resolve the references now. Raises Refused (secret-unavailable)."""
    backup = resolve_login(entry.credentials)
    restore = resolve_login(entry.restore_credentials) if entry.restore_credentials else backup
    return Target(
        address=Address(cluster_id=entry.cluster_id, endpoints=entry.endpoints, tls=entry.tls),
        login=restore,
        kept_users=tuple(dict.fromkeys((restore.user, backup.user))),
    )
