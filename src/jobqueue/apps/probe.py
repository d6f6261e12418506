"""Ask a role on this machine whether it is ready."""

import asyncio
from typing import Final

HOST: Final = "127.0.0.1"
ANSWER_S_MAX: Final = 2.0
REQUEST: Final = b"GET /healthz/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


async def is_ready(port: int) -> bool:
    """Tell whether GET /healthz/ready on the port answers 200."""
    try:
        async with asyncio.timeout(ANSWER_S_MAX):
            reader, writer = await asyncio.open_connection(HOST, port)
            try:
                writer.write(REQUEST)
                status = await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
    return status.split(b" ")[1:2] == [b"200"]
