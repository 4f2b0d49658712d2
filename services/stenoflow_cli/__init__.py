"""The command line: ``up``, ``transcribe``."""
