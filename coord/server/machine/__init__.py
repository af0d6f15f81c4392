"""The replicated state machine: the same log gives the same state on every member."""
