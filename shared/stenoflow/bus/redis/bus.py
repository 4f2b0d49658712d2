"""The bus in Redis: one server or a cluster, its connections, and the adapters over them."""

from __future__ import annotations

from stenoflow.base.clock import Clock
from stenoflow.bus.claims import LEASE_S
from stenoflow.bus.records import Stages
from stenoflow.bus.redis.claims import RedisClaims
from stenoflow.bus.redis.cluster import Cluster, ClusterPool, is_cluster
from stenoflow.bus.redis.connection import Links, Pool, Server
from stenoflow.bus.redis.doors import RedisDoors
from stenoflow.bus.redis.keys import shards_of
from stenoflow.bus.redis.logs import RedisLogs
from stenoflow.bus.redis.records import RedisRecords

DEADLINE_S = 2.0
"""For connecting and for each command, beyond what the server itself was asked to wait. Redis answers in
milliseconds; a renewal that hangs for longer than a lease is of no use any more."""


class RedisBus:
    """All of a bus over one server or a cluster. Make one with :meth:`connect`; close it in the end.

    Args:
        server: where the logs are.
        clock: for signs of life and how often TTLs are renewed.
        shards: into how many slots sessions are spread.
        lease_s: seconds without renewal after which a claim may be taken over.
    """

    def __init__(self, server: Server | Cluster, clock: Clock, *, shards: int, lease_s: float) -> None:
        self._shards = shards_of(shards)
        self._lease_s = lease_s
        self._readers, self._others = _links(server), _links(server)
        self._logs = RedisLogs(server, self._readers, self._others)
        self._records = RedisRecords(self._others, self._shards, clock)

    @classmethod
    async def connect(
        cls,
        url: str,
        clock: Clock,
        *,
        shards: int = 1,
        lease_s: float = LEASE_S,
        deadline_s: float = DEADLINE_S,
    ) -> RedisBus:
        """A bus whose server was checked.

        Raises:
            ConfigError: it is not reachable, older than 6.2, evicts data when full, or is no cluster where its
                address says so.
        """
        server = (Cluster if is_cluster(url) else Server)(url, deadline_s=deadline_s)
        await server.check()
        return cls(server, clock, shards=shards, lease_s=lease_s)

    def logs(self) -> RedisLogs:
        """The logs."""
        return self._logs

    def claims(self, stage: Stages, consumer: str, bundle: str = "") -> RedisClaims:
        """The claims of one stage, as one consumer."""
        return RedisClaims(self._others, self._shards, stage, consumer, bundle, self._lease_s)

    def records(self) -> RedisRecords:
        """Session records, progress, registry."""
        return self._records

    def doors(self) -> RedisDoors:
        """Tickets, and what tenants have open."""
        return RedisDoors(self._others)

    async def close(self) -> None:
        """Closes all connections; what is in flight fails."""
        await self._readers.close()
        await self._others.close()


def _links(server: Server | Cluster) -> Links:
    return ClusterPool(server) if isinstance(server, Cluster) else Pool(server)
