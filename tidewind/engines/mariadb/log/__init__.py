"""MariaDB's binary log: events, transactions, row images, and reading it over the replication protocol."""
