"""Give back what was sent: for trying things out."""

from typing import Any

from jobqueue.worker.handler import Context


async def echo(_ctx: Context, /, **data: Any) -> dict[str, Any]:
    """Return the job's data."""
    return data
