"""The AsyncAPI 3 document of the live streams, from the shapes of their messages (protocol/live.py)."""

from __future__ import annotations

from typing import Any, Final

from pydantic.json_schema import models_json_schema

from jobqueue.api.live.stream import CLOSE_EXPIRED, CLOSE_LAGGED, CLOSE_RESTART
from jobqueue.protocol.live import MESSAGES

ASYNCAPI: Final = "3.0.0"
REFERENCE: Final = "#/components/schemas/{model}"
CHANNEL: Final = "jobs"
STORY: Final = (
    "Every change of the tenant's jobs as it happens, in order for each job, none missing and none twice, also across reconnects with "
    f"`after`. The server closes with {CLOSE_EXPIRED} when the credential has ended, {CLOSE_LAGGED} when the client does not read, "
    f"{CLOSE_RESTART} when it restarts: come back with `after` after a short random wait."
)
QUERY: Final[dict[str, dict[str, Any]]] = {
    "queue": {"type": "array", "items": {"type": "string"}, "description": "Repeated: one of them is enough."},
    "job_type": {"type": "array", "items": {"type": "string"}, "description": "Repeated: one of them is enough."},
    "job_id": {"type": "array", "items": {"type": "string", "format": "uuid"}, "description": "Repeated: one of them is enough."},
    "after": {"type": "string", "pattern": "^[0-9]{1,18}$", "description": "The last cursor known."},
    "snapshot": {"type": "boolean", "description": "Begin with the jobs as they are: those named, else those that have not ended."},
    "mode": {"type": "string", "enum": ["all", "latest"], "description": "`latest`: only the newest state of each job."},
    "tenant_id": {"type": "string", "description": "The credential's own."},
}


def build_document(version: str) -> dict[str, Any]:
    """Make the document. version: the product's."""
    _, definitions = models_json_schema([(model, "serialization") for model in MESSAGES], ref_template=REFERENCE)
    messages = {
        model.__name__: {
            "name": model.__name__,
            "summary": (model.__doc__ or "").strip(),
            "contentType": "application/json",
            "payload": {"$ref": REFERENCE.format(model=model.__name__)},
        }
        for model in MESSAGES
    }
    return {
        "asyncapi": ASYNCAPI,
        "info": {"title": "jobqueue live", "version": version, "description": STORY},
        "defaultContentType": "application/json",
        "channels": {
            CHANNEL: {
                "address": "/ws/jobs",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
                "bindings": {"ws": {"method": "GET", "query": {"type": "object", "properties": QUERY}, "bindingVersion": "0.1.0"}},
            }
        },
        "operations": {
            "streamJobs": {
                "action": "send",
                "channel": {"$ref": f"#/channels/{CHANNEL}"},
                "messages": [{"$ref": f"#/channels/{CHANNEL}/messages/{name}"} for name in messages],
                "security": [{"$ref": "#/components/securitySchemes/bearer"}, {"$ref": "#/components/securitySchemes/ticket"}],
            }
        },
        "components": {
            "schemas": definitions["$defs"],
            "messages": messages,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "An API key or a token, in the Authorization header."},
                "ticket": {
                    "type": "httpApiKey",
                    "in": "header",
                    "name": "Sec-WebSocket-Protocol",
                    "description": "`jobqueue.v1, jobqueue.ticket.<ticket>`, with a single-use ticket from POST /v1/stream/tickets.",
                },
            },
        },
    }
