"""The system's clock keeps what Clock promises."""

import time

from jobqueue.aio.clock import SystemClock


async def test_clocks_never_go_back_and_sleep_waits() -> None:
    clock = SystemClock()
    monotonic, boottime = clock.monotonic(), clock.boottime()
    await clock.sleep(0.001)
    assert clock.monotonic() - monotonic >= 0.001
    assert clock.boottime() - boottime >= 0.001


def test_boottime_counts_on_the_clock_that_runs_while_the_machine_sleeps() -> None:
    expected = time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
    assert abs(SystemClock().boottime() - expected) < 60
