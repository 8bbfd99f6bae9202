"""The simulator: the node's own consensus under a virtual clock, with faults drawn from a seed."""
