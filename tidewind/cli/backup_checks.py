"""What `doctor` says of each cluster's backups, by the status topic: a store, key and database that are well now say
nothing of whether there is a backup to restore."""

from collections.abc import Mapping
from typing import Any

from tidewind.cli.formats import in_zone, parse_moment
from tidewind.cli.ports import Check, State, Statuses

BACKUPS = "backups"
"""The group of what keeps a cluster from having a fresh backup."""


def look_at_backups(statuses: Statuses, cluster: str | None) -> list[Check]:
    """Of one cluster or of all that are protected."""
    chosen = [
        name
        for name in statuses.clusters()
        if name == cluster
        or (cluster is None and (statuses.one("cluster", name) or {}).get("state", "protected") == "protected")
    ]
    return [
        found
        for name in chosen
        for found in _of_cluster(statuses, name, f"{name} {BACKUPS}" if chosen[1:] else BACKUPS)
    ]


def _of_cluster(statuses: Statuses, cluster: str, group: str) -> list[Check]:
    backups = statuses.of("backup", cluster)
    completed = [one for one in backups if one.get("state") == "completed"]
    ended = (one for one in backups if _failed(one) or one.get("state") not in ("pending", "running"))
    tried = sorted(ended, key=lambda one: (one.get("state") == "pending", _begun(one)))
    checks = []
    if tried and _failed(tried[-1]):
        checks.append(_failure(tried[-1], group, statuses.zone(cluster)))
    if not completed:
        text = f"{cluster} has no backup: there is nothing to restore"
        fix = f"the next one begins {_next(statuses, cluster)}; see it with  tidewind backup list --cluster {cluster}"
        checks.append(Check(group=group, level="warn", text=text, fix=fix))
    elif not checks:
        count = len(completed)
        text = f"{cluster} has {count} backup{'' if count == 1 else 's'}, and the last one tried was completed"
        checks.append(Check(group=group, level="ok", text=text))
    return checks


def _failed(backup: State) -> bool:
    """Also one whose attempt failed and that is to be tried again, which is the newest whatever its times."""
    return backup.get("state") == "failed" or (backup.get("state") == "pending" and bool(backup.get("problem")))


def _failure(backup: State, group: str, zone: str) -> Check:
    problem: Mapping[str, Any] = backup.get("problem") or {}
    begun = parse_moment(_begun(backup))
    when = f", begun {in_zone(begun, zone)}," if begun else ""
    why = f": {problem['detail']}" if problem.get("detail") else ""
    seen = f"tidewind backup show {backup.get('backup_id')}"
    return Check(
        group=group,
        level="error",
        text=f"the last backup of {backup.get('cluster_id')}{when} failed{why}",
        fix=f"{problem['next_step']}   ({seen})" if problem.get("next_step") else seen,
    )


def _begun(backup: State) -> str:
    return str(backup.get("started_at") or backup.get("snapshot_time") or "")


def _next(statuses: Statuses, cluster: str) -> str:
    at = (statuses.one("setting", cluster) or {}).get("next_backup_at")
    return f"at {in_zone(parse_moment(str(at)), statuses.zone(cluster))}" if at else "at the time of its setting"
