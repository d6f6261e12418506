"""The receiver of docs/webhooks.md, run as it stands there."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from jobqueue.operations.webhook_delivery import Claimed
from tests.unit.reaper.test_webhook_sender import sender_of
from tests.webhooks.stepping import HERE, SECRET, WRITTEN

PAGE = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text()
(EXAMPLE,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
TAKEN = "Address already in use"


async def started(tmp_path: Path) -> tuple[asyncio.subprocess.Process, int]:
    """Run the example on a port nobody has; on another one where somebody was quicker."""
    file = tmp_path / "receiver.py"
    file.write_text(EXAMPLE)
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        process = await asyncio.create_subprocess_exec(
            sys.executable, file, env={**os.environ, "WEBHOOK_SECRET": WRITTEN, "PORT": str(port)},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        while process.returncode is None:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            writer.close()
            return process, port
        assert process.stderr is not None
        said = (await process.stderr.read()).decode()
        assert TAKEN in said, said


async def test_receiver_of_the_page_takes_what_is_signed_once_and_refuses_the_rest(tmp_path: Path) -> None:
    async with asyncio.timeout(60):
        process, port = await started(tmp_path)
        try:
            sender = sender_of(HERE)
            sender._now_s = lambda: datetime.now(UTC).timestamp()

            def delivery(seq: int, secret: bytes) -> Claimed:
                body = json.dumps({"type": "job.succeeded", "seq": seq}).encode()
                url = f"http://127.0.0.1:{port}/hook"
                return Claimed(UUID(int=1), seq, 1, "acme", url, body, datetime.now(UTC), (secret,))

            sent = [delivery(8, SECRET), delivery(8, SECRET), delivery(9, b"x" * 32), delivery(16, SECRET)]
            statuses = [(await sender.send(one)).status for one in sent]
            assert statuses == [204, 204, 400, 204]
            assert process.stdout is not None
            told = [json.loads(await process.stdout.readline())["seq"] for _ in range(2)]
            assert told == [8, 16]
        finally:
            process.kill()
            await process.wait()
