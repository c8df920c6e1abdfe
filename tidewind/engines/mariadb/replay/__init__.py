"""Replay of the captured log into a restored base: row events through BINLOG, statements in their own context."""
