"""The OpenAPI document: routes read their bodies themselves (strictly, and quickly), so they say here what FastAPI cannot see."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from jobqueue.api.links import add_links
from jobqueue.api.problems import PROBLEMS
from jobqueue.domain import errors
from jobqueue.domain.errors import JobQueueError
from jobqueue.protocol import access, audit, batches, filters, jobs, live, problem, queues, tenants, webhooks, work

REFERENCE: Final = "#/components/schemas/{model}"
MODELS: Final = (
    access.TokenRequest,
    access.Token,
    access.Me,
    access.Registration,
    access.Login,
    access.ApiKeyRequest,
    access.ApiKeyMade,
    access.ApiKeysPage,
    audit.AuditPage,
    tenants.Tenant,
    tenants.TenantsPage,
    tenants.TenantRequest,
    tenants.TenantChange,
    jobs.JobRequest,
    jobs.RetryRequest,
    batches.Batch,
    batches.BatchResults,
    batches.ImportResult,
    jobs.NoFields,
    jobs.Job,
    jobs.EventsPage,
    jobs.JobResult,
    jobs.JobStats,
    filters.JobsPage,
    filters.JobPatch,
    filters.ForceSuccess,
    filters.CancelRequest,
    filters.ReplayRequest,
    filters.BulkCount,
    live.StreamTicket,
    queues.Queue,
    queues.QueueChange,
    queues.QueuesPage,
    queues.QueuesStats,
    work.WorkerOffer,
    work.WorkerTerms,
    work.Worker,
    work.WorkersPage,
    work.LeaseRequest,
    work.Leases,
    work.Heartbeat,
    work.HeartbeatAnswer,
    work.BeatAnswer,
    work.SettleRequest,
    work.SettleAnswers,
    work.SettleAnswer,
    work.JobProgress,
    work.JobOutcome,
    webhooks.WebhookRequest,
    webhooks.WebhookChange,
    webhooks.Webhook,
    webhooks.WebhookWithSecret,
    webhooks.WebhooksPage,
    webhooks.RotateRequest,
    webhooks.DeliveryWithPayload,
    webhooks.DeliveriesPage,
    webhooks.WebhookReplay,
    webhooks.ReplayCount,
    problem.Problem,
)
BEARER: Final = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key, or a token from POST /auth/token, /auth/login or /auth/register.",
}
CORRELATION: Final = {
    "name": "X-Correlation-Id",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[ -~]{1,128}$"},
    "description": "Taken over, returned, kept with the job and put on every log line of it.",
}
ALWAYS: Final = (errors.HeaderInvalid, errors.InvalidFields)
WITH_BODY: Final = (errors.BodyMalformed, errors.BodyTooLarge)
WITH_CREDENTIAL: Final = (errors.Unauthenticated, errors.ScopeMissing, errors.RateLimited)
WITH_DATABASE: Final = (errors.DatabaseUnavailable, errors.Overloaded)


def documented(
    answers: Mapping[int, tuple[str, type[BaseModel] | None]],
    *refusals: type[JobQueueError],
    body: type[BaseModel] | None = None,
    is_body_needed: bool = True,
    headers: tuple[Mapping[str, Any], ...] = (),
    is_public: bool = False,
) -> dict[str, Any]:
    """Make what add_api_route wants to know of a route. answers: status -> (description, shape); refusals beyond those every route has."""
    all_refusals = [*refusals, *ALWAYS, *WITH_DATABASE, *(WITH_BODY if body else ()), *(() if is_public else WITH_CREDENTIAL)]
    extra: dict[str, Any] = {"parameters": [CORRELATION, *headers]}
    if body is not None:
        extra["requestBody"] = {"required": is_body_needed, "content": {"application/json": {"schema": _reference(body)}}}
    if not is_public:
        extra["security"] = [{"bearer": []}]
    return {
        "status_code": next(iter(answers)),
        "response_model": None,
        "responses": {**{status: _answer(*said) for status, said in answers.items()}, **_refusals(all_refusals)},
        "openapi_extra": extra,
    }


def build_document(app: FastAPI) -> dict[str, Any]:
    """Make the whole document."""
    document = app.openapi()
    _, definitions = models_json_schema([(model, "validation") for model in MODELS], ref_template=REFERENCE)
    components = document.setdefault("components", {})
    components["schemas"] = {**components.get("schemas", {}), **definitions["$defs"]}
    components["securitySchemes"] = {"bearer": BEARER}
    for item in document["paths"].values():
        for call in item.values():
            _take_nulls_out(call.get("parameters", []))
    add_links(document)
    return document


def _take_nulls_out(parameters: list[dict[str, Any]]) -> None:
    """A parameter that may be left out has null as its default in Python; nobody can send it."""
    for parameter in parameters:
        schema = parameter["schema"]
        kinds = [kind for kind in schema.get("anyOf", []) if kind != {"type": "null"}]
        if len(kinds) == 1:
            del schema["anyOf"]
            schema.update(kinds[0])


def _reference(model: type[BaseModel]) -> dict[str, str]:
    assert model in MODELS, model
    return {"$ref": REFERENCE.format(model=model.__name__)}


def _answer(description: str, model: type[BaseModel] | None) -> dict[str, Any]:
    if model is None:
        return {"description": description}
    return {"description": description, "content": {"application/json": {"schema": _reference(model)}}}


def _refusals(kinds: list[type[JobQueueError]]) -> dict[int, dict[str, Any]]:
    """Group problems by status; a caller tells those of one status apart by their code."""
    codes: defaultdict[int, list[str]] = defaultdict(list)
    for kind in dict.fromkeys(kinds):
        codes[PROBLEMS[kind].status].append(f"`{kind.code}`: {PROBLEMS[kind].title}")
    content = {problem.MEDIA_TYPE: {"schema": _reference(problem.Problem)}}
    return {status: {"description": " · ".join(said), "content": content} for status, said in sorted(codes.items())}
