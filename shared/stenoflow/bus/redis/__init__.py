"""The bus in Redis 6.2 or newer (Valkey too). Nothing outside this package knows the client library."""

from stenoflow.bus.redis.bus import RedisBus

__all__ = ["RedisBus"]
