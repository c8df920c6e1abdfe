"""Restore in place for MariaDB: the fence, the gate, the safeguard, the load and both ways out."""
