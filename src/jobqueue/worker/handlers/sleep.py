"""Take a given time: for trying out progress, cancellation, timeouts and retries."""

from typing import Annotated, Any, Final

from pydantic import Field

from jobqueue.aio.clock import Clock, SystemClock
from jobqueue.worker.handler import Context

STEPS: Final = 20
STEP_S_MAX: Final = 1.0

_clock: Final[Clock] = SystemClock()


class SimulatedFailure(Exception):
    """The job asked for it."""


async def sleep(ctx: Context, duration: Annotated[float, Field(ge=0)], fail_simulation: bool = False) -> dict[str, Any]:
    """Sleep for `duration` seconds, telling progress; with `fail_simulation` fail after that."""
    ends_at = _clock.monotonic() + duration
    step_s = min(STEP_S_MAX, duration / STEPS)
    while (left_s := ends_at - _clock.monotonic()) > 0:
        await ctx.progress(100 * (1 - left_s / duration), "sleeping")
        await _clock.sleep(min(step_s, left_s))
    if fail_simulation:
        raise SimulatedFailure(f"failed after {duration:g} s, as asked")
    return {"slept_s": duration}
