"""Single submits over HTTP by wrk, a load generator in C: `wrk -t1 -c16`, an API key and an idempotency key of its own on each request."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bench.contender import CLIENTS, NOOP
from bench.measure import WARM_UP_S
from bench.ours import HOST, JobqueueOverHttp
from bench.server import Server
from bench.submit import ONE

SCRIPT: Final = """
local number = 0
request = function()
  number = number + 1
  wrk.headers["Idempotency-Key"] = "%(prefix)s-" .. number
  return wrk.format("POST", "/v1/jobs", nil, '{"payload":{"job_type":"%(job_type)s","data":{"n":' .. number .. '}}}')
end
done = function(summary, latency, requests)
  local failed = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.write(string.format('{"answers": %%d, "duration_us": %%d, "failed": %%d}\\n', summary.requests, summary.duration, failed))
end
"""


class WrkFailed(Exception):
    """wrk could not run, or met answers other than 2xx."""


def is_there() -> bool:
    """Say whether wrk is installed."""
    return shutil.which("wrk") is not None


class JobqueueByWrk(JobqueueOverHttp):
    """Ours over HTTP, with wrk in front."""

    name = "jobqueue, wrk"


async def one_by_one(server: Server, contender: JobqueueByWrk, *, seconds: float) -> Mapping[str, float]:
    """Measure single submits, in jobs per second."""
    dsn = await server.fresh(contender)
    async with contender.serving(dsn) as (port, keys):
        await _run(server.directory, port, keys[0], seconds=WARM_UP_S)
        found = await _run(server.directory, port, keys[0], seconds=seconds)
    if found["failed"]:
        raise WrkFailed(f"{found['failed']} requests of {found['answers']} failed")
    return {ONE: found["answers"] / (found["duration_us"] / 1e6)}


async def _run(directory: Path, port: int, key: str, *, seconds: float) -> dict[str, int]:
    script = directory / "submit.lua"
    script.write_text(SCRIPT % {"prefix": secrets.token_hex(8), "job_type": NOOP})
    arguments = ["-t1", f"-c{CLIENTS}", f"-d{max(1, round(seconds))}s", "-s", str(script)]
    headers = ["-H", f"Authorization: Bearer {key}", "-H", "Content-Type: application/json"]
    process = await asyncio.create_subprocess_exec(
        "wrk", *arguments, *headers, f"http://{HOST}:{port}", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    last = output.decode().strip().splitlines()[-1]
    if process.returncode or not last.startswith("{"):
        raise WrkFailed(output.decode())
    found: dict[str, int] = json.loads(last)
    return found
