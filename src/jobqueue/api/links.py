"""What leads from one call to the next, as OpenAPI links: readers see the way, and schemathesis walks it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

JOB_CALLS: Final = (
    *("get_job", "list_job_events", "get_job_result", "patch_job"),
    *("cancel_job", "delete_job", "retry_job", "force_success_of_job"),
)
QUEUE_CALLS: Final = ("get_queue", "change_queue", "pause_queue", "resume_queue")
SHOW_A_JOB: Final = ("submit_job", "get_job", "patch_job", "cancel_job", "delete_job", "retry_job", "force_success_of_job")
SHOW_A_QUEUE: Final = QUEUE_CALLS

WEBHOOK_CALLS: Final = (
    *("get_webhook", "change_webhook", "delete_webhook", "rotate_webhook_secret"),
    *("test_webhook", "replay_webhook", "list_webhook_deliveries"),
)
SHOW_A_WEBHOOK: Final = ("create_webhook", "get_webhook", "change_webhook", "rotate_webhook_secret")
DELIVERY_CALLS: Final = ("get_webhook_delivery", "replay_webhook_delivery")
SHOW_A_DELIVERY: Final = ("test_webhook", *DELIVERY_CALLS)
SHOW_A_TENANT: Final = ("create_tenant", "get_tenant", "change_tenant")


def add_links(document: dict[str, Any]) -> None:
    """Write the links into every answer that shows a job or a queue."""
    calls = {call["operationId"]: call for item in document["paths"].values() for call in item.values()}
    for name in SHOW_A_JOB:
        _link(calls[name], {"job_id": "$response.body#/id"}, [target for target in JOB_CALLS if target != name])
    for name in SHOW_A_QUEUE:
        _link(calls[name], {"name": "$response.body#/name"}, [target for target in QUEUE_CALLS if target != name])
    _link(calls["create_api_key"], {"key_id": "$response.body#/id"}, ["delete_api_key"])
    for name in SHOW_A_WEBHOOK:
        _link(calls[name], {"webhook_id": "$response.body#/id"}, [target for target in WEBHOOK_CALLS if target != name])
    for name in SHOW_A_DELIVERY:
        parameters = {"webhook_id": "$response.body#/webhook_id", "delivery_id": "$response.body#/id"}
        _link(calls[name], parameters, [target for target in DELIVERY_CALLS if target != name])
    for name in SHOW_A_TENANT:
        _link(calls[name], {"tenant_id": "$response.body#/id"}, ["get_tenant", "change_tenant"])
    _link(calls["submit_job"], {"name": "$response.body#/queue"}, QUEUE_CALLS)
    assert all(target in calls for target in (*JOB_CALLS, *QUEUE_CALLS))


def _link(call: dict[str, Any], parameters: dict[str, str], targets: Sequence[str]) -> None:
    for status, answer in call["responses"].items():
        if status.startswith("2"):
            links = answer.setdefault("links", {})
            links.update({target: {"operationId": target, "parameters": parameters} for target in targets})
