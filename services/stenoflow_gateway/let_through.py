"""For calls whose second pass has died: their drafts become final as they are, until a worker is back (DESIGN 6a).

Without it nothing would be final any more, and clients keep sound only so long. It is a worker of the second pass like
any other, with claims and the one loop, that takes calls only while no real one is registered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any

import structlog

from stenoflow.base.clock import Clock
from stenoflow.base.errors import BusUnavailable
from stenoflow.bus.claims import LEASE_S, RENEW_S
from stenoflow.bus.records import Stages
from stenoflow.runtime.drafts import DraftsStand
from stenoflow.runtime.holdings import Holdings
from stenoflow.runtime.loop import Bus, WorkerLoop
from stenoflow.runtime.metrics import WorkerMetrics
from stenoflow.runtime.places import SECOND_PASS
from stenoflow_gateway.admission import Admission, second_passes

LOOK_S = 1.0
"""How often it is looked whether the second passes in use are served. (A dead worker's line fades within 5 s.)"""

PLACES = 4096


class LetThrough:
    """Looks after the second passes that this gateway's calls were promised.

    Args:
        bus: logs, claims, records.
        clock: time.
        admission: knows which workers live.
        in_use: the models that calls with a socket here have as second pass.
        metrics: of the loop.
        name: the consumer's, unlike any other gateway's.
    """

    def __init__(
        self,
        bus: Bus,
        clock: Clock,
        admission: Admission,
        in_use: Callable[[], Collection[str]],
        metrics: WorkerMetrics,
        name: str,
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._admission = admission
        self._in_use = in_use
        self._metrics = metrics
        self._name = name
        self._loops: dict[str, tuple[WorkerLoop[Any], asyncio.Task[None]]] = {}
        self._log = structlog.get_logger()

    async def run(self) -> None:
        """Looks, for ever; hands everything over when it is cancelled."""
        try:
            while True:
                try:
                    await self._look()
                except BusUnavailable as error:
                    self._log.warning("bus unavailable", code=error.code)
                await asyncio.sleep(LOOK_S)
        finally:
            for model in list(self._loops):
                await self._stop(model)

    async def _look(self) -> None:
        served = set(second_passes(await self._admission.workers()))
        for model in set(self._in_use()) - served - set(self._loops):
            self._log.warning("no second pass left: drafts stand as they are", model=model)
            self._start(model)
        for model in list(self._loops):
            loop_task = self._loops[model][1]
            if loop_task.done():
                loop_task.result()  # a bug there must not go unseen
            if model in served:
                self._log.info("second pass is back", model=model)
                await self._stop(model)

    def _start(self, model: str) -> None:
        stage = DraftsStand()
        holdings: Holdings[Any] = Holdings(
            stage,
            SECOND_PASS,
            self._bus.claims(Stages.SECOND_PASS, self._name, model),
            self._bus.logs(),
            self._bus.records(),
            self._clock,
            self._metrics,
            places=PLACES,
            lease_s=LEASE_S,
            renew_s=RENEW_S,
        )
        loop = WorkerLoop(stage, SECOND_PASS, self._bus, self._clock, holdings, self._metrics)
        self._loops[model] = (loop, asyncio.create_task(loop.run()))

    async def _stop(self, model: str) -> None:
        loop, task = self._loops.pop(model)
        loop.drain()
        await task
