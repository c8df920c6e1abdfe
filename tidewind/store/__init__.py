"""Adapters of the store: a directory, S3, and the sealing that both are used through."""
