"""The state machine, pure: a state and a block give the next state and the outcomes."""
