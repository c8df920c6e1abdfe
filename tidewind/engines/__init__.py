"""Adapters to databases: one folder for each engine, all with the same anatomy."""
