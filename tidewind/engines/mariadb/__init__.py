"""MariaDB 10.5 and newer: reading a cluster (`snapshot`) and putting one back (`restore`)."""
