"""Consensus, sans-I/O: inputs in, effects out; it orders headers and opaque bodies."""
