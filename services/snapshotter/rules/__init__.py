"""Pure rules of the snapshotter: values in, decisions with reasons out."""
