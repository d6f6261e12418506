"""What streams are told, encoded once for all who are told it."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Final

import orjson
from websockets.frames import Frame, Opcode

from jobqueue.api.bodies import OUT
from jobqueue.domain.feed import FeedEvent
from jobqueue.domain.job import JobView

SSE_RETRY_MS: Final = 1_000


class Message:
    """One message; frame and sse are made when somebody needs them first."""

    def __init__(self, kind: str, cursor: int, **more: Any) -> None:
        self.kind = kind
        self.cursor = cursor
        self.json = orjson.dumps({"cursor": str(cursor), "type": kind, **more}, default=str, option=OUT)

    @cached_property
    def frame(self) -> bytes:
        """The message as one WebSocket text frame; a server's frames are not masked, so they are the same for everybody."""
        return bytes(Frame(Opcode.TEXT, self.json).serialize(mask=False))

    @cached_property
    def sse(self) -> bytes:
        """The message as one server-sent event."""
        return b"id: %d\nevent: %b\ndata: %b\n\n" % (self.cursor, self.kind.encode(), self.json)


def of_event(event: FeedEvent, tenant: str) -> Message:
    """Tell what happened to a job."""
    job = {
        "id": event.job_id,
        "tenant_id": tenant,
        "queue": event.queue,
        "job_type": event.job_type,
        "status": event.status,
        "attempt": event.attempt,
        "worker_id": event.worker_id,
        "progress": event.progress,
        "progress_message": event.progress_message,
    }
    return Message(f"job.{event.type}", event.cursor, at=event.at, job=job)


def of_snapshot(view: JobView, cursor: int) -> Message:
    """Tell what a job is."""
    job = {
        "id": view.job_id,
        "tenant_id": view.tenant,
        "queue": view.queue,
        "job_type": view.job_type,
        "status": view.status,
        "attempt": view.attempt,
        "worker_id": view.lease_owner,
        "progress": view.progress,
        "progress_message": view.progress_message,
    }
    return Message("snapshot", cursor, job=job)
