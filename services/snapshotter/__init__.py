"""Takes snapshots, verifies them, deletes them; tries a cluster's connection before it is enrolled."""
