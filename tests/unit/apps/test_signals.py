"""The first signal stops, the second aborts; an orphan ends."""

import asyncio
import os
import signal
import subprocess
import sys

from jobqueue.apps.signals import Stops, heeded_signals

ORPHAN = """
import signal, sys
from jobqueue.apps.signals import end_with_parent
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
end_with_parent(grace_s=5)
print("watching", flush=True)
while True:
    signal.pause()
"""


async def test_second_signal_aborts() -> None:
    with heeded_signals() as stops:
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(10):
            await stops.stop.wait()
        assert not stops.abort.is_set()
        os.kill(os.getpid(), signal.SIGINT)
        async with asyncio.timeout(10):
            await stops.abort.wait()


def test_pressing_three_times_is_pressing_twice() -> None:
    stops = Stops()
    for _ in range(3):
        stops.press()
    assert stops.stop.is_set()
    assert stops.abort.is_set()


def test_process_whose_parent_is_gone_asks_itself_to_stop() -> None:
    with subprocess.Popen([sys.executable, "-c", ORPHAN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "watching\n"
        process.stdin.close()
        assert process.wait(timeout=20) == 7
