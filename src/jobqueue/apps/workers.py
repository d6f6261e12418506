"""`jobqueue worker --processes N`: N worker processes under one parent, which restarts those that die."""

from typing import Final

from jobqueue.aio.clock import SystemClock
from jobqueue.apps.children import ChildCommand, Children
from jobqueue.apps.refusals import StartRefused
from jobqueue.apps.signals import Stops
from jobqueue.config import Settings

STOP_S_BEYOND_GRACE: Final = 15.0
"""For the handlers' cancellation, the last settles and the end of the process."""
PORT_MAX: Final = 65_535


async def serve(settings: Settings, stops: Stops, *, processes: int) -> None:
    """Keep the processes alive until stopped. Raises StartRefused, ChildRefused."""
    stop_s_max = settings.shutdown_grace_seconds + STOP_S_BEYOND_GRACE
    await Children(worker_commands(processes, metrics_port=settings.metrics_port), stop_s_max=stop_s_max, clock=SystemClock()).run(stops)


def worker_commands(processes: int, *, metrics_port: int) -> list[ChildCommand]:
    """Say how each one is started; their metrics ports follow each other, 0 keeps all off. Raises StartRefused."""
    if metrics_port + processes - 1 > PORT_MAX:
        raise StartRefused(
            f"JOBQUEUE_METRICS_PORT: {processes} processes need ports up to {metrics_port + processes - 1}; choose a lower one"
        )
    ports = [metrics_port + number if metrics_port else 0 for number in range(processes)]
    return [
        ChildCommand(f"worker-{number}", ["worker", "--child"], {"JOBQUEUE_METRICS_PORT": str(port)})
        for number, port in enumerate(ports, start=1)
    ]
