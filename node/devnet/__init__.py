"""Networks on this machine for trying things out: a process for each node, kept running."""
