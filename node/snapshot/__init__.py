"""Snapshots: a final state in chunks that prove themselves, and what leads from genesis to it."""
