"""Whether a server may be protected, from what the preflight found."""

from collections.abc import Iterator, Sequence

from schemas.commands import Endpoint
from schemas.replies import FieldError, Problem
from tidewind.domain.problems import problem
from tidewind.domain.records import RegistryEntry
from tidewind.ports.engine import Finding, Preflight


def judge(preflight: Preflight) -> Problem | None:
    """None if nothing forbids it; otherwise one problem that names every error with the line that mends it."""
    errors = [finding for finding in preflight.findings if finding.level == "error"]
    if not errors:
        return None
    kind = "database-rights-missing" if all(_is_about_rights(finding) for finding in errors) else "database-unsuitable"
    fixes = [finding.fix for finding in errors if finding.fix]
    return problem(
        kind,
        "; ".join(finding.text for finding in errors),
        next_step=" ".join(fix if fix.endswith(";") else f"{fix}." for fix in fixes) or None,
        errors=tuple(FieldError(field=finding.subject, problem=finding.text) for finding in errors),
    )


def second_id(cluster: str, endpoints: Sequence[Endpoint], others: Sequence[RegistryEntry]) -> Problem | None:
    """Under two ids one server would be backed up twice, and closed and overwritten by restores of either."""
    for other, shared in _sharing(cluster, endpoints, others):
        where = f"{shared.host}:{shared.port}"
        return problem(
            "server-enrolled",
            f"{where} is enrolled already, as {other.cluster_id}",
            next_step=f"Use it as it is: tidewind cluster show {other.cluster_id}; to give it another id, retire that"
            f" one first: tidewind cluster retire {other.cluster_id}",
            errors=(FieldError(field="endpoints", problem=f"{where} is that of {other.cluster_id}"),),
        )
    return None


def _sharing(
    cluster: str, endpoints: Sequence[Endpoint], others: Sequence[RegistryEntry]
) -> Iterator[tuple[RegistryEntry, Endpoint]]:
    wanted = {_place(endpoint) for endpoint in endpoints}
    for other in others:
        if other.cluster_id == cluster or other.state == "retired":
            continue
        for endpoint in other.endpoints:
            if _place(endpoint) in wanted:
                yield other, endpoint


def _place(endpoint: Endpoint) -> tuple[str, int]:
    """Names of hosts are the same in any case, and with the dot of the root."""
    return endpoint.host.lower().removesuffix("."), endpoint.port


def same_identity(cluster: str, identity: str, others: Sequence[RegistryEntry]) -> list[str]:
    """A warning only: a copy of a data directory has the identity of what it was copied from."""
    return [
        f"the server looks like that of {other.cluster_id} (identity {identity}), reached at another address: under two"
        " ids restores of either overwrite it → unless it is a copy, retire one of the two:"
        f" tidewind cluster retire {cluster}"
        for other in others
        if other.cluster_id != cluster and other.state != "retired" and other.server_identity == identity
    ]


def warnings(findings: Sequence[Finding]) -> list[str]:
    """What the operator should know although the cluster is accepted."""
    return [
        f"{finding.text} → {finding.fix}" if finding.fix else finding.text
        for finding in findings
        if finding.level == "warn"
    ]


def _is_about_rights(finding: Finding) -> bool:
    return finding.subject in ("grants", "restores")
