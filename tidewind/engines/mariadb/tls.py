"""TLS towards a database.

`Address.tls` names its CA, certificate and key as `file:PATH`, as `env:NAME` of a variable holding PEM text, or as PEM
text itself where the settings layer has resolved it already.
"""

import os
import ssl
import tempfile
from pathlib import Path

from schemas.commands import DatabaseTls
from tidewind.ports.engine import DatabaseError


def tls_context(tls: DatabaseTls | None) -> ssl.SSLContext | None:
    """None means plain text, which only `None` and the mode `disabled` ask for. Raises DatabaseError if the material
    cannot be read."""
    if tls is None or tls.mode == "disabled":
        return None
    try:
        context = ssl.create_default_context(cadata=_pem(tls.ca) if tls.ca else None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = tls.mode == "verify-identity"
        if tls.certificate:
            _load_certificate(context, _pem(tls.certificate), _pem(tls.key) if tls.key else None)
    except (OSError, ssl.SSLError, KeyError) as error:
        raise DatabaseError(
            "secret-unavailable", f"the TLS material of the database cannot be used: {_named(error)}"
        ) from error
    return context


def _named(error: BaseException) -> str:
    return f"variable {error.args[0]} is not set" if isinstance(error, KeyError) else str(error)


def _pem(reference: str) -> str:
    if reference.startswith("file:"):
        return Path(reference.removeprefix("file:")).read_text()
    if reference.startswith("env:"):
        return os.environ[reference.removeprefix("env:")]
    return reference


def _load_certificate(context: ssl.SSLContext, certificate: str, key: str | None) -> None:
    """The ssl module takes a client certificate from files only."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "client.pem"
        path.touch(mode=0o600)
        path.write_text(certificate + "\n" + (key or ""))
        context.load_cert_chain(path)
