"""Whether a server may be protected, from what the preflight found."""

from collections.abc import Sequence

from schemas.replies import FieldError, Problem
from tidewind.domain.problems import problem
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


def warnings(findings: Sequence[Finding]) -> list[str]:
    """What the operator should know although the cluster is accepted."""
    return [
        f"{finding.text} → {finding.fix}" if finding.fix else finding.text
        for finding in findings
        if finding.level == "warn"
    ]


def _is_about_rights(finding: Finding) -> bool:
    return finding.subject in ("grants", "restores")
