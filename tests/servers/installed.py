"""Where scripts/ensure-* put the servers' programs: outside the clone, in a folder named after what asked
for them."""

import hashlib
import os
import shutil
from pathlib import Path

from tidewind.embedded.processes import ProgramMissingError

HERE = Path(__file__).parent


def cached(name: str, *described_by: Path) -> Path:
    """The cache folder of a server. Its name changes with the files that pin the server's version."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in described_by)).hexdigest()[:16]
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "tidewind" / f"{name}-{digest}"


def jars(name: str) -> str:
    """The class path of a server that Maven fetched."""
    folder = cached(name, HERE / name / "pom.xml")
    if not (folder / "complete").exists():
        raise ProgramMissingError(f"{name} is not in {folder}; run  scripts/ensure-jars.sh")
    return f"{folder}/lib/*"


def java() -> str:
    found = shutil.which("java")
    if found is None:
        raise ProgramMissingError("java is not installed; run  scripts/ensure-jars.sh")
    return found


def versitygw() -> Path:
    module = HERE / "versitygw"
    program = cached("versitygw", module / "go.mod", module / "go.sum") / "versitygw"
    if not program.exists():
        raise ProgramMissingError(f"{program} does not exist; run  scripts/ensure-versitygw.sh")
    return program


def mariadb(release: str) -> Path:
    """The installation folder of another release of MariaDB, as `11.8`."""
    script = HERE.parent.parent / "scripts" / "ensure-mariadb-releases.sh"
    folder = cached(f"mariadb-{release}", script, HERE / "mariadb" / "pom.xml")
    if not (folder / "complete").exists():
        raise ProgramMissingError(f"MariaDB {release} is not in {folder}; run  scripts/ensure-mariadb-releases.sh")
    return folder / "root" / "usr"
