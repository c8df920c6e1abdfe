"""A MariaDB of its own becomes the only node of a Galera cluster: `server.start(extra_options=galera_options())`."""

from pathlib import Path

from tidewind.embedded.processes import LOOPBACK, ProgramMissingError, free_port

PROVIDER = Path("/usr/lib/galera/libgalera_smm.so")


def galera_options() -> tuple[str, ...]:
    if not PROVIDER.exists():
        raise ProgramMissingError(f"{PROVIDER} is missing; run  apt-get install -y galera-4")
    listening = f"gmcast.listen_addr=tcp://{LOOPBACK}:{free_port()};ist.recv_addr={LOOPBACK}:{free_port()}"
    return (
        "--wsrep-on=ON",
        f"--wsrep-provider={PROVIDER}",
        "--wsrep-cluster-address=gcomm://",
        f"--wsrep-node-address={LOOPBACK}",
        f"--wsrep-provider-options={listening}",
        "--innodb-autoinc-lock-mode=2",
    )
