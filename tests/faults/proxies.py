"""The proxies of a run in a process of their own, so that a busy client does not slow the database down: `python -m tests.faults.proxies`.

The process takes one JSON object a line on stdin, a command each, and ends when stdin does; it answers `open` with the port on stdout.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tests.faults.proxy import Mood, Proxy

ROOT: Final = Path(__file__).parents[2]


class RemoteProxy:
    """A proxy in the other process."""

    def __init__(self, name: str, port: int, host: ProxyHost) -> None:
        self.name = name
        self.port = port
        self._host = host

    def behave(self, mood: Mood) -> None:
        """Change the behaviour."""
        self._host.tell({"act": "behave", "name": self.name, "mood": dataclasses.asdict(mood)})

    def reset(self) -> None:
        """Cut every connection."""
        self._host.tell({"act": "reset", "name": self.name})


class ProxyHost:
    """The process, as the run sees it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    @classmethod
    @contextlib.contextmanager
    def running(cls) -> Iterator[ProxyHost]:
        """Have the process while the block runs."""
        command = [sys.executable, "-m", "tests.faults.proxies"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment) as process:
            yield cls(process)
            assert process.stdin is not None
            process.stdin.close()

    def open(self, name: str, target_port: int, *, host: str = "127.0.0.1") -> RemoteProxy:
        """Open one more proxy, on an address of this machine."""
        self.tell({"act": "open", "name": name, "target_port": target_port, "host": host})
        assert self._process.stdout is not None
        return RemoteProxy(name, int(self._process.stdout.readline()), self)

    def tell(self, command: dict[str, Any]) -> None:
        """Send one command."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()


async def main() -> None:
    """Do what stdin says until it ends."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    proxies: dict[str, Proxy] = {}
    async with contextlib.AsyncExitStack() as stack:
        while line := await reader.readline():
            command = json.loads(line)
            name = command["name"]
            if command["act"] == "open":
                proxies[name] = await stack.enter_async_context(Proxy(name, command["target_port"], host=command["host"]).running())
                sys.stdout.write(f"{proxies[name].port}\n")
                sys.stdout.flush()
            elif command["act"] == "behave":
                proxies[name].behave(Mood(**command["mood"]))
            else:
                proxies[name].reset()


if __name__ == "__main__":
    asyncio.run(main())
