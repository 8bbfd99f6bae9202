"""The modules of the state machine: one explicit tuple, in the order in which their hooks run."""
