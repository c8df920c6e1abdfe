"""What the restorer does: one file per command, and the restore that two of them share."""
