"""Logs, claims and records: ports here, implementations in ``redis/`` and ``memory/``."""
