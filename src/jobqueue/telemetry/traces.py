"""Traces: one of each sampled job over all processes, told by OpenTelemetry.

    submit_job (API) -> acquire_lease -> execute_job -> ack_job (worker)

The trace lies with the job: the API stores a `traceparent` that names its own span, and whoever claims the job goes on from there. A job
without one, or whose flag says that it is not sampled, costs one look at a string; a process with no exporter has no Traces at all.
Spans hold ids, names and classes of errors, never data or messages.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from jobqueue.domain.job import JobRequest
from jobqueue.telemetry.logs import mark_span
from jobqueue.telemetry.sampled import is_sampled

if TYPE_CHECKING:
    from jobqueue.domain.lease import Lease
    from jobqueue.domain.outcome import Outcome

SCOPE: Final = "jobqueue"
FLUSH_S_MAX: Final = 2.0
"""How long the end of a process waits for its last spans to be taken."""
TRACE_ID_MASK: Final = (1 << 64) - 1
NS_PER_S: Final = 1_000_000_000


class Traces:
    """The spans of one process."""

    def __init__(self, exporter: SpanExporter, *, resource: Resource, share: float) -> None:
        """share: of the traces that begin here, how many are sampled, 0 to 1; those that callers began keep their flag."""
        sampler = ParentBased(TraceIdRatioBased(share))
        self._ids = _Ids()
        self._bound = TraceIdRatioBased.get_bound_for_rate(share)
        self.provider = TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False, id_generator=self._ids)
        self.provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self.provider.get_tracer(SCOPE)

    def offer(self) -> None:
        """Let what else runs in this process, handlers above all, tell its spans the same way, unless it has a way of its own."""
        if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            trace.set_tracer_provider(self.provider)

    def close(self, *, within_s: float = FLUSH_S_MAX) -> None:
        """Hand over what is left, waiting at most so long: nothing depends on it."""
        closing = threading.Thread(target=self.provider.shutdown, name="traces-close", daemon=True)
        closing.start()
        closing.join(within_s)

    # ------------------------------------------------------------------------------------------------------ in

    def submitting(self, tenant: str, requests: Sequence[JobRequest]) -> AbstractContextManager[Sequence[Submitting]]:
        """Begin a span for each sampled request, whose job then carries it on; the caller says what was stored, or an error ends all."""
        spans = []
        for position, request in enumerate(requests):
            if (span := self._begin_submit(tenant, request)) is not None:
                spans.append(Submitting(position, span))
        if not spans:
            return NO_SPANS
        if len(requests) == 1:
            _mark(spans[0].span)
        return _ended(spans)

    def _begin_submit(self, tenant: str, request: JobRequest) -> trace.Span | None:
        if request.traceparent is None:
            trace_id = self._ids.draw()
            if trace_id & TRACE_ID_MASK >= self._bound:
                return None
            self._ids.chosen = trace_id
            parent = contexts.Context()
        elif is_sampled(request.traceparent):
            parent = _context_of(request.traceparent)
        else:
            return None
        attributes: dict[str, Any] = {"tenant_id": tenant, "attempt": 0, "queue": request.queue, "job_type": request.job_type}
        span = self._tracer.start_span("submit_job", context=parent, kind=SpanKind.PRODUCER, attributes=attributes)
        request.traceparent = _traceparent(span.get_span_context())
        return span

    # ------------------------------------------------------------------------------------------- out and home

    def acquired(self, lease: Lease, worker_id: str, *, took_s: float) -> RunTrace | None:
        """Tell that a sampled job was claimed, by a call that took so long until now; go on with what it returns.

        None: what lies with the job is no traceparent.
        """
        assert lease.traceparent is not None
        try:
            parent = _context_of(lease.traceparent)
        except ValueError:
            return None
        attributes: dict[str, Any] = {
            "job_id": str(lease.job_id),
            "tenant_id": lease.tenant,
            "worker_id": worker_id,
            "attempt": lease.standing.attempt,
            "queue": lease.queue,
            "job_type": lease.job_type,
        }
        now_ns = time.time_ns()
        span = self._tracer.start_span(
            "acquire_lease",
            context=parent,
            kind=SpanKind.CLIENT,
            attributes=attributes,
            start_time=now_ns - round(took_s * NS_PER_S),
        )
        span.end(now_ns)
        return RunTrace(self._tracer, span, attributes)


@contextmanager
def _ended(spans: Sequence[Submitting]) -> Iterator[Sequence[Submitting]]:
    try:
        yield spans
    except BaseException as error:
        for begun in spans:
            begun.span.set_status(Status(StatusCode.ERROR))
            begun.span.set_attribute("error.type", type(error).__name__)
        raise
    finally:
        for begun in spans:
            begun.span.end()


class Submitting(NamedTuple):
    """A submit under way. position: of its request among those of the call."""

    position: int
    span: trace.Span

    def stored(self, job_ids: Sequence[object]) -> None:
        """Say which jobs the requests became, in order."""
        self.span.set_attribute("job_id", str(job_ids[self.position]))


NO_SPANS: Final[AbstractContextManager[Sequence[Submitting]]] = nullcontext(())


class RunTrace:
    """The spans of one sampled run, in the hands of its worker."""

    __slots__ = ("_attributes", "_span", "_tracer")

    def __init__(self, tracer: trace.Tracer, span: trace.Span, attributes: dict[str, Any]) -> None:
        self._tracer = tracer
        self._span = span
        self._attributes = attributes

    def start(self) -> None:
        """The handler starts."""
        parent = trace.set_span_in_context(self._span, contexts.Context())
        self._span = self._tracer.start_span("execute_job", context=parent, kind=SpanKind.CONSUMER, attributes=self._attributes)

    def enter(self) -> None:
        """Be the current trace of what runs in this context: the handler's own spans and log lines belong to it."""
        contexts.attach(trace.set_span_in_context(self._span))
        _mark(self._span)

    def end(self, outcome: Outcome) -> None:
        """The handler has ended."""
        span = self._span
        span.set_attribute("outcome", outcome.kind.value)
        if outcome.failure is not None:
            span.set_status(Status(StatusCode.ERROR))
            span.set_attribute("error.type", outcome.failure.type)
        span.end()

    def lost(self) -> None:
        """The handler has ended after its lease was lost: nothing of it is reported."""
        self._span.set_status(Status(StatusCode.ERROR))
        self._span.set_attribute("outcome", "lease_lost")
        self._span.end()

    def settled(self, answer: str, next_status: str | None, *, took_s: float) -> None:
        """The outcome was reported, by a call that took so long until now."""
        now_ns = time.time_ns()
        span = self._tracer.start_span(
            "ack_job",
            context=trace.set_span_in_context(self._span, contexts.Context()),
            kind=SpanKind.CLIENT,
            attributes={**self._attributes, "answer": answer, "status": next_status or "unknown"},
            start_time=now_ns - round(took_s * NS_PER_S),
        )
        span.end(now_ns)


class _Ids(RandomIdGenerator):
    """Random ids; the next trace gets the one that was chosen, where one was."""

    def __init__(self) -> None:
        self.chosen: int | None = None

    def draw(self) -> int:
        """Draw an id for a trace that may begin."""
        return random.getrandbits(128) or 1

    def generate_trace_id(self) -> int:
        chosen, self.chosen = self.chosen, None
        return super().generate_trace_id() if chosen is None else chosen


def _context_of(traceparent: str) -> contexts.Context:
    """Read a traceparent that was checked when it came in."""
    remote = SpanContext(
        int(traceparent[3:35], 16), int(traceparent[36:52], 16), is_remote=True, trace_flags=TraceFlags(int(traceparent[53:55], 16))
    )
    return trace.set_span_in_context(NonRecordingSpan(remote), contexts.Context())


def _mark(span: trace.Span) -> None:
    own = span.get_span_context()
    mark_span(f"{own.trace_id:032x}", f"{own.span_id:016x}")


def _traceparent(own: SpanContext) -> str:
    return f"00-{own.trace_id:032x}-{own.span_id:016x}-{int(own.trace_flags):02x}"
