"""The modules of the state machine."""
