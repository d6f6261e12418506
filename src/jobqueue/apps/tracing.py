"""Open this process's traces by the standard OTEL_ variables. Without an address to send them to there are none.

Read here: whether and where, the sampler, the service's name; the exporter itself reads headers, certificates, compression and time limits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from jobqueue.apps.refusals import StartRefused
from jobqueue.apps.version import own_version
from jobqueue.telemetry.logs import get_logger

if TYPE_CHECKING:
    from jobqueue.telemetry.traces import Traces

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL: Final = "http/protobuf"
SAMPLER, SHARE = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"
SHARES: Final = {"always_on": 1.0, "always_off": 0.0, "traceidratio": None}
"""What share of the traces a sampler keeps, by its name without `parentbased_`; None: OTEL_TRACES_SAMPLER_ARG says."""


@contextmanager
def traced(role: str, environment: Mapping[str, str]) -> Iterator[Traces | None]:
    """Have this process's traces told while the block runs; at its end what is left is handed over, within a bound.

    Raises StartRefused for a wrong value, in one line that names the variable.
    """
    traces = open_traces(role, environment)
    try:
        yield traces
    finally:
        if traces is not None:
            traces.close()


def check_variables(environment: Mapping[str, str]) -> None:
    """Look for wrong values. Raises StartRefused."""
    if is_wanted(environment):
        read_share(environment)


def open_traces(role: str, environment: Mapping[str, str]) -> Traces | None:
    """Open them; None where there is nobody to tell, or the packages are not installed. Raises StartRefused."""
    if not is_wanted(environment):
        return None
    share = read_share(environment)
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource

        from jobqueue.telemetry.traces import Traces
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "jobqueue":
            raise
        get_logger().warning("traces.not_installed", remedy="pip install 'jobqueue[traces]', or unset OTEL_EXPORTER_OTLP_ENDPOINT")
        return None
    told = {"service.version": own_version()}
    if not environment.get("OTEL_SERVICE_NAME") and "service.name=" not in environment.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        told["service.name"] = f"jobqueue-{role}"
    traces = Traces(OTLPSpanExporter(), resource=Resource.create(told), share=share)
    if role == "worker":
        traces.offer()
    return traces


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Tell whether the variables name somebody to tell traces to. Raises StartRefused for what this program cannot do."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER") or "otlp"
    if exporter not in ("otlp", "none"):
        raise StartRefused(f"OTEL_TRACES_EXPORTER: {exporter!r} is not built in; set it to otlp or none")
    named = [(name, value) for name in ENDPOINTS if (value := environment.get(name, "").strip())]
    if exporter == "none" or not named:
        return False
    for name, value in named:
        if not value.startswith(("http://", "https://")):
            raise StartRefused(f"{name}: must look like http://collector:4318")
    for name in PROTOCOLS:
        if (protocol := environment.get(name)) and protocol != PROTOCOL:
            raise StartRefused(f"{name}: {protocol!r} is not built in; set it to {PROTOCOL} and the address to the port for it, often 4318")
    return True


def read_share(environment: Mapping[str, str]) -> float:
    """Read what share of the traces that begin here is kept. Raises StartRefused."""
    name = environment.get(SAMPLER) or "parentbased_always_on"
    kind = name.removeprefix("parentbased_")
    if kind not in SHARES:
        raise StartRefused(f"{SAMPLER}: {name!r} is not known; set it to parentbased_traceidratio, parentbased_always_on or always_off")
    share = SHARES[kind]
    if share is not None:
        return share
    try:
        share = float(environment.get(SHARE) or 1.0)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise StartRefused(f"{SHARE}: must be a number from 0 to 1, such as 0.01")
    return share
