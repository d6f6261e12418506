"""Many live streams on one API process: what each costs, how late events are, and what clients that never read do to the others.

python -m tests.live.load --sockets 5000 --seconds 20

1. Memory: the API process before and after `--sockets` streams of which nothing is asked yet.
2. Latency, from a submit's commit to the client: 1,000 of the streams follow one queue each and a job a second is submitted to each of them
   (--rate in all, in batches); --broadcast events a second are of a queue that the same 1,000 follow too. Measured without and with
3. --silent clients that never read: they must be let go within 10 s, and the memory they took come back.

Clients are bare sockets in a process of their own: a message is only looked through for its job's id.
"""

import argparse
import asyncio
import base64
import contextlib
import json
import multiprocessing
import os
import resource
import socket
import struct
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import uvloop

from jobqueue.domain.job import JobRequest
from tests.engine import digest
from tests.live.world import HOST, World, open_world

FOLLOWERS: Final = 1_000
EVERYBODY: Final = "everybody"
BATCH_S: Final = 0.1
SILENT_S_MAX: Final = 30.0
ID: Final = b'"job":{"id":"'
ID_BYTES: Final = 36
OPEN_AT_ONCE: Final = 100


class Follower(asyncio.Protocol):
    """A bare WebSocket client: it notes when each job's first message came."""

    def __init__(self, request: bytes, seen: list[tuple[bytes, float]], opened: "asyncio.Future[None]", *, reads: bool) -> None:
        self._request = request
        self._seen = seen
        self._opened = opened
        self._reads = reads
        self._buffer = b""
        self._is_open = False
        self.closed_at_s: float | None = None
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._is_open:
            head, separator, rest = self._buffer.partition(b"\r\n\r\n")
            if not separator:
                return
            assert head.startswith(b"HTTP/1.1 101"), head
            self._is_open, self._buffer = True, rest
            if not self._reads:
                self._opened.set_result(None)
                self.transport.pause_reading()
                return
        self._read_frames(time.monotonic())

    def _read_frames(self, now_s: float) -> None:
        buffer, position = self._buffer, 0
        while len(buffer) - position >= 2:
            kind, size = buffer[position] & 15, buffer[position + 1] & 127
            start = position + 2
            if size == 126:
                if len(buffer) - position < 4:
                    break
                (size,) = struct.unpack_from("!H", buffer, start)
                start += 2
            if len(buffer) < start + size:
                break
            payload, position = buffer[start : start + size], start + size
            if kind == 9:
                self.transport.write(bytes((0x8A, 0x80 | size)) + b"\0\0\0\0" + payload)
            elif kind == 1:
                place = payload.find(ID)
                if place > 0:
                    begin = place + len(ID)
                    self._seen.append((payload[begin : begin + ID_BYTES], now_s))
                elif not self._opened.done():
                    self._opened.set_result(None)
        self._buffer = buffer[position:]

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed_at_s = time.monotonic()
        if not self._opened.done():
            self._opened.set_exception(ConnectionError(str(exc)))


def request_for(key: str, port: int, queues: list[str]) -> bytes:
    """An upgrade."""
    nonce = base64.b64encode(os.urandom(16)).decode()
    query = urlencode({"queue": queues}, doseq=True)
    return (
        f"GET /ws/jobs?{query} HTTP/1.1\r\nHost: {HOST}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {nonce}\r\nAuthorization: Bearer {key}\r\n\r\n"
    ).encode()


async def open_followers(key: str, port: int, chosen: list[list[str]], seen: list[tuple[bytes, float]], *, reads: bool) -> list[Follower]:
    """Open one stream for each choice of queues."""
    loop = asyncio.get_running_loop()
    turns = asyncio.Semaphore(OPEN_AT_ONCE)
    followers: list[Follower] = []

    async def open_one(queues: list[str]) -> None:
        async with turns:
            opened: asyncio.Future[None] = loop.create_future()
            handle = socket.socket()
            handle.setblocking(False)
            if not reads:
                handle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await loop.sock_connect(handle, (HOST, port))
            _, follower = await loop.create_connection(
                lambda: Follower(request_for(key, port, queues), seen, opened, reads=reads), sock=handle
            )
            followers.append(follower)
            await asyncio.wait_for(opened, 60)

    async with asyncio.TaskGroup() as group:
        for queues in chosen:
            group.create_task(open_one(queues))
    return followers


def clients(pipe: Connection, key: str, port: int) -> None:
    """The clients' process: opens streams when told, and tells what they saw."""
    raise_files()
    uvloop.run(_clients(pipe, key, port))


async def _clients(pipe: Connection, key: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    seen: list[tuple[bytes, float]] = []
    silent: list[Follower] = []
    while True:
        while not pipe.poll():
            await asyncio.sleep(0.01)
        command, argument = pipe.recv()
        if command == "open":
            await open_followers(key, port, argument, seen, reads=True)
            pipe.send(len(argument))
        elif command == "silent":
            silent = await open_followers(key, port, argument, seen, reads=False)
            pipe.send(time.monotonic())
        elif command == "closed":  # a client that never reads sees its end when it looks
            for follower in silent:
                with contextlib.suppress(RuntimeError, OSError):
                    follower.transport.resume_reading()
            await asyncio.sleep(0.5)
            pipe.send(sum(follower.closed_at_s is not None for follower in silent))
        elif command == "seen":
            taken, seen[:] = list(seen), []
            pipe.send(taken)
        else:
            loop.stop()
            return


def raise_files() -> None:
    """Let this process have as many files as it may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def rss_kib(pid: int) -> int:
    """Resident memory of a process."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1])


def sockets_of(pid: int) -> int:
    """How many sockets a process holds."""
    count = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            count += os.readlink(entry).startswith("socket:")
    return count


async def submit_on(world: World, seconds: float, *, rate: int, broadcast: int) -> dict[bytes, tuple[float, int]]:
    """Submit jobs, one event each; answers when each was committed and how many clients are to see it."""
    committed: dict[bytes, tuple[float, int]] = {}
    count = 0
    end_s = time.monotonic() + seconds
    async with world.engine.submitter() as submitter:
        await submitter.submit(world.caller.tenant_id, JobRequest("t", "{}", digest("first"), digest("t"), "first"))
        next_s = time.monotonic()
        while next_s < end_s:
            queues = [f"q{(count + place) % FOLLOWERS}" for place in range(round(rate * BATCH_S))]
            count += len(queues)
            queues += [EVERYBODY] * round(broadcast * BATCH_S)

            async def submit(queue: str) -> None:
                asked = JobRequest("t", "{}", None, None, None, queue=queue)
                stored = await submitter.submit(world.caller.tenant_id, asked)
                committed[str(stored.job_id).encode()] = (time.monotonic(), FOLLOWERS if queue == EVERYBODY else 1)

            async with asyncio.TaskGroup() as group:
                for queue in queues:
                    group.create_task(submit(queue))
            next_s += BATCH_S
            await asyncio.sleep(max(0.0, next_s - time.monotonic()))
    return committed


def percentiles(waits_s: list[float]) -> dict[str, float]:
    """The usual ones, in ms."""
    ordered = sorted(waits_s)
    return {
        name: round(1000 * ordered[min(len(ordered) - 1, int(len(ordered) * share))], 1)
        for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
    }


async def measure(world: World, pipe: Connection, seconds: float, *, rate: int, broadcast: int) -> dict[str, Any]:
    """Submit for a while and see when the clients saw it."""
    pipe.send(("seen", None))
    await asyncio.to_thread(pipe.recv)
    committed = await submit_on(world, seconds, rate=rate, broadcast=broadcast)
    await asyncio.sleep(2.0)
    pipe.send(("seen", None))
    seen = await asyncio.to_thread(pipe.recv)
    waits_s = [at_s - committed[job][0] for job, at_s in seen if job in committed]
    return {
        "jobs": len(committed),
        "told": len(waits_s),
        "expected": sum(count for _, count in committed.values()),
        "ms": percentiles(waits_s),
    }


async def run(*, sockets: int, seconds: float, rate: int, broadcast: int, silent: int) -> dict[str, Any]:
    """Run it; answers the figures."""
    raise_files()
    async with open_world() as world:
        world.proxy.reset()
        here, there = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=clients, args=(there, world.key, world.api_port), daemon=True)
        process.start()
        report: dict[str, Any] = {"sockets": sockets}
        try:
            await asyncio.sleep(1)
            before = rss_kib(world.pid)
            chosen = [[f"q{number}", EVERYBODY] for number in range(FOLLOWERS)] + [["nothing"]] * max(0, sockets - FOLLOWERS)
            here.send(("open", chosen))
            begun_s = time.monotonic()
            await asyncio.to_thread(here.recv)
            report["opened_in_s"] = round(time.monotonic() - begun_s, 1)
            report["kib_each"] = round((rss_kib(world.pid) - before) / len(chosen), 1)
            report["alone"] = await measure(world, here, seconds, rate=rate, broadcast=broadcast)
            held, files = rss_kib(world.pid), sockets_of(world.pid)
            here.send(("silent", [[EVERYBODY]] * silent))
            await asyncio.to_thread(here.recv)
            opened_s = time.monotonic()
            measuring = asyncio.create_task(measure(world, here, seconds, rate=rate, broadcast=broadcast))
            while sockets_of(world.pid) > files and time.monotonic() - opened_s < SILENT_S_MAX:
                await asyncio.sleep(0.1)
            report["silent_gone_in_s"] = round(time.monotonic() - opened_s, 1)
            report["beside_silent"] = await measuring
            report["mib_kept"] = round((rss_kib(world.pid) - held) / 1024, 1)
            here.send(("end", None))
        finally:
            process.terminate()
            process.join(10)
    return report


def main() -> None:
    """Read the command line, run, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sockets", type=int, default=5_000)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rate", type=int, default=1_000)
    parser.add_argument("--broadcast", type=int, default=10)
    parser.add_argument("--silent", type=int, default=100)
    report = asyncio.run(run(**vars(parser.parse_args())))
    sys.stdout.write(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
