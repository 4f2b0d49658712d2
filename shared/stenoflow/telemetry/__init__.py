"""Logging and the metrics endpoint: set up once, in each process's composition root."""
