"""What an HTTP connection may cost: how long a head or a body may take to arrive, how large a head may be, how long an answer lies unread.

uvicorn bounds none of these: a socket that sends a byte now and then is kept for ever. Here a head has `arrival_s`, from the first byte or
from the connection's opening; a body must bring `bytes_min` in each `arrival_s`, and so must a reader of an answer take. The clocks rest
while it is us who hold things up. A request that arrives in one piece starts no timer at all.

What is refused here never reached the application, and is answered as a problem like everything else. A refusal waits for the answers to
earlier requests of its connection, and ends it. Trailers are dropped: they would be taken for headers the application was not asked about.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from jobqueue.api.middleware import SECURITY_HEADERS
from jobqueue.api.problems import DOOR_PROBLEMS, problem_response

MALFORMED, LATE, HEAD_TOO_LARGE = "request_malformed", "request_timeout", "head_too_large"
DETAILS: Final = {
    MALFORMED: "this is not a request as HTTP/1.1 has them",
    LATE: "the request did not arrive in time",
    HEAD_TOO_LARGE: "the request's line and headers are too many or too long",
}


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Bounds of one connection. connections_max: at once in a process; one more is closed as it comes."""

    arrival_s: float = 6.0
    """So that all is over within 10 s on a machine that is busy, too."""
    bytes_min: int = 3_072
    """In each arrival_s: 512 bytes a second, which Apache asks for too (mod_reqtimeout)."""
    head_bytes_max: int = 32 * 1024
    headers_max: int = 100
    connections_max: int = 10_000


class Phase(Enum):
    """What a connection owes: a head, the rest of a body, or nothing."""

    HEAD = auto()
    BODY = auto()
    IDLE = auto()


class HeadTooLarge(Exception):
    """Ends the parsing of a head; httptools makes an error of its own of it."""


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with bounds; `limits` is set by a subclass."""

    limits = ConnectionLimits()

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._phase = Phase.HEAD
        self._messages = 0
        self._head_bytes = 0
        self._unparsed_bytes = 0
        self._window_bytes = 0
        self._has_sent = self._has_asked = False
        self._arrival: asyncio.TimerHandle | None = None
        self._watched: tuple[int, Phase] | None = None
        self._reading: asyncio.TimerHandle | None = None
        self._refusal: str | None = None
        self._is_refused = self._is_given_away = False

    # ------------------------------------------------------------------------------------------------ the connection

    def connection_made(self, transport: Any) -> None:
        """Take a connection, if there is room for it; from now on it owes a head."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections_max:
            transport.abort()
            return
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clocks."""
        self._stop_clocks()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self) -> None:
        """Give the connection away; it has bounds of its own from now on."""
        self._stop_clocks()
        self._is_given_away = True
        super().handle_websocket_upgrade()

    def _unsupported_upgrade_warning(self) -> None:
        """Ignore an upgrade to what we do not speak, and end the connection after the answer: what follows may be anything."""
        self.cycle.keep_alive = False

    # ------------------------------------------------------------------------------------------------ what arrives

    def data_received(self, data: bytes) -> None:
        """Parse what came; then see what is still owed."""
        if self._is_refused:
            return
        self._has_sent = True
        self._unparsed_bytes += len(data)
        super().data_received(data)
        if self._is_given_away:
            return
        if self._phase is not Phase.IDLE and self._unparsed_bytes > self.limits.head_bytes_max:
            self._refuse(HEAD_TOO_LARGE if self._phase is Phase.HEAD else MALFORMED)
        self._watch()

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._messages += 1
        self._phase = Phase.HEAD
        self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Part of the address."""
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; a trailer is counted and dropped."""
        self._count_head(len(name) + len(value) + 4)
        if self._phase is Phase.HEAD:
            super().on_header(name, value)
            if len(self.headers) > self.limits.headers_max:
                self._stop_parsing()

    def _count_head(self, size: int) -> None:
        self._unparsed_bytes = max(0, self._unparsed_bytes - size)
        self._head_bytes += size
        if self._head_bytes > self.limits.head_bytes_max:
            self._stop_parsing()

    def _stop_parsing(self) -> None:
        self._refusal = HEAD_TOO_LARGE
        raise HeadTooLarge

    def on_headers_complete(self) -> None:
        """The head is here."""
        super().on_headers_complete()
        self._unparsed_bytes = 0
        self._has_asked = True
        self._phase = Phase.BODY

    def on_body(self, body: bytes) -> None:
        """Part of a body. Only this counts as progress: chunks' sizes and extensions do not."""
        self._unparsed_bytes = 0
        self._window_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Nothing more is owed."""
        self._unparsed_bytes = 0
        self._phase = Phase.IDLE
        super().on_message_complete()

    # ------------------------------------------------------------------------------------------------ clocks

    def _watch(self) -> None:
        """Run one clock for what is owed now, or none; between requests uvicorn's own for idle connections."""
        if self._is_refused or self.transport.is_closing():
            return
        if self._phase is not Phase.IDLE:
            if self._watched != (self._messages, self._phase):
                self._start_arrival()
            return
        self._stop_arrival()
        if self._has_asked and self.cycle.response_complete and self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _start_arrival(self) -> None:
        self._stop_arrival()
        self._watched = (self._messages, self._phase)
        self._window_bytes = 0
        self._arrival = self.loop.call_later(self.limits.arrival_s, self._on_late)

    def _stop_arrival(self) -> None:
        self._watched = None
        if self._arrival is not None:
            self._arrival.cancel()
            self._arrival = None

    def _stop_clocks(self) -> None:
        self._stop_arrival()
        self._stop_reading()

    def _on_late(self) -> None:
        if self.transport.is_closing():
            return
        if (self._phase is Phase.BODY and self._window_bytes >= self.limits.bytes_min) or self._is_ours_to_move():
            self._start_arrival()
        elif self._has_sent:
            self._refuse(LATE)
        else:
            self.transport.close()  # a silent one was opened ahead, and would take an answer for that to its first request

    def _is_ours_to_move(self) -> bool:
        """Whether we hold things up: our buffer is full, or the caller waits for our leave to send the body."""
        is_leave_awaited = self._phase is Phase.BODY and self.cycle.waiting_for_100_continue and not self.cycle.response_complete
        return self.flow.read_paused or is_leave_awaited

    def pause_writing(self) -> None:
        """The answer is not taken as fast as it is made."""
        super().pause_writing()
        self._start_reading()

    def resume_writing(self) -> None:
        """It is again."""
        self._stop_reading()
        super().resume_writing()

    def _start_reading(self) -> None:
        self._stop_reading()
        self._reading = self.loop.call_later(self.limits.arrival_s, self._on_unread, self.transport.get_write_buffer_size())

    def _stop_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _on_unread(self, size_before: int) -> None:
        if size_before - self.transport.get_write_buffer_size() >= self.limits.bytes_min:
            self._start_reading()
        else:
            self.transport.abort()

    # ------------------------------------------------------------------------------------------------ refusals

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words for it are not shown
        """Answer what cannot be parsed."""
        self._refuse(self._refusal or MALFORMED)

    def _refuse(self, code: str) -> None:
        """Answer once and end the connection, after the answers that are still due to earlier requests."""
        self._is_refused = True
        self._refusal = code
        self._stop_arrival()
        if self._phase is Phase.BODY and not self._forget_queued():
            if self.cycle.response_started:
                self.transport.close()
            else:
                self._end_with_refusal()
                self.cycle.disconnected = True  # who reads the body is told that no more of it comes
                self.cycle.message_event.set()
        elif self.pipeline or (self._has_asked and not self.cycle.response_complete):
            self.flow.pause_reading()
        else:
            self._end_with_refusal()

    def _forget_queued(self) -> bool:
        """Take a request whose body is broken out of the pipeline; answers whether it was there, and not under way."""
        if self.pipeline and self.pipeline[0][0] is self.cycle:
            self.pipeline.popleft()
            return True
        return False

    def on_response_complete(self) -> None:
        """Go on with the next request, or with the refusal that waits behind the last one."""
        is_last = not self.pipeline
        super().on_response_complete()
        if self._is_refused and is_last and not self.transport.is_closing():
            self._end_with_refusal()

    def _end_with_refusal(self) -> None:
        assert self._refusal is not None
        kind = DOOR_PROBLEMS[self._refusal]
        response = problem_response(
            os.urandom(16).hex(), status=kind.status, code=self._refusal, title=kind.title, detail=DETAILS[self._refusal]
        )
        headers = [*response.raw_headers, *SECURITY_HEADERS, (b"cache-control", b"no-store"), (b"connection", b"close")]
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        self.transport.write(b"".join((STATUS_LINE[kind.status], lines, b"\r\n", response.body)))
        self.transport.close()
