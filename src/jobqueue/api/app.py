"""The application: routes, problems and the middleware around them, put together."""

from __future__ import annotations

from functools import cache, partial
from typing import Final

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from jobqueue.api import asyncapi
from jobqueue.api.authorize import Gate
from jobqueue.api.middleware import Door
from jobqueue.api.openapi import build_document
from jobqueue.api.problems import answer_error, answer_http_exception, answer_validation_error
from jobqueue.api.routes import (
    api_keys,
    audit,
    auth,
    batches,
    changes,
    docs,
    health,
    imports,
    jobs,
    leases,
    lists,
    live,
    queues,
    stats,
    tenants,
    webhooks,
    workers,
)
from jobqueue.api.services import ApiServices
from jobqueue.domain.errors import JobQueueError
from jobqueue.operations import stream_tickets

ROUTES: Final = (
    jobs,
    leases,
    batches,
    imports,
    lists,
    changes,
    queues,
    stats,
    live,
    workers,
    auth,
    api_keys,
    tenants,
    webhooks,
    audit,
    health,
)
"""The busiest first: routes are tried in order."""
STORY: Final = "A durable job queue: accepted means stored, one owner per job, exact limits per tenant."


def create_app(services: ApiServices, *, version: str = "0") -> FastAPI:
    """Make the application. Nothing runs until it is served; it owns none of the services. version: shown in the documentation."""
    app = FastAPI(
        title="jobqueue",
        version=version,
        description=STORY,
        openapi_url=None,  # routes/docs serves it
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False, "auto_configure": False},
    )
    gate = app.state.gate = Gate(
        services.keys, services.users, services.tokens, services.rates, partial(stream_tickets.redeem, services.db)
    )
    app.add_exception_handler(JobQueueError, answer_error)
    app.add_exception_handler(HTTPException, answer_http_exception)
    app.add_exception_handler(RequestValidationError, answer_validation_error)
    app.add_middleware(Door, telemetry=services.telemetry, clock=services.clock)

    @cache
    def document() -> bytes:
        return orjson.dumps(build_document(app))

    @cache
    def live_document() -> bytes:
        return orjson.dumps(asyncapi.build_document(version))

    for router in (*(routes.build(services) for routes in ROUTES), docs.build(document, live_document)):
        app.router.routes.extend(router.routes)  # included routers would be matched one inside the other, at each request
    app.router.routes.append(live.build_socket(gate, services.joiner))
    return app
