"""The documentation: /openapi.json, and Swagger UI at /docs from files that came with a package, so that it works offline."""

from __future__ import annotations

import html
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter
from starlette.responses import RedirectResponse, Response

from jobqueue.api.authorize import open_to_all
from jobqueue.api.problems import DOOR_PROBLEMS, PROBLEMS, ProblemKind
from jobqueue.domain.errors import NotFound

ASSETS_PACKAGE: Final = "fastapi_offline"
ASSETS: Final = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css", "favicon.png": "image/png"}
DAY: Final = {"Cache-Control": "public, max-age=86400"}
POLICY: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}
PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>jobqueue API</title>
<link rel="icon" href="/docs/assets/favicon.png"><link rel="stylesheet" href="/docs/assets/swagger-ui.css"></head>
<body><div id="api"></div>
<script src="/docs/assets/swagger-ui-bundle.js"></script><script src="/docs/assets/start.js"></script></body></html>
"""
START: Final = """SwaggerUIBundle({url: "/openapi.json", dom_id: "#api", deepLinking: true, persistAuthorization: true,
  presets: [SwaggerUIBundle.presets.apis], validatorUrl: null});
"""
PROBLEM_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{code}</title></head>
<body><h1>{title}</h1><p><code>{code}</code>, status {status}</p><p>{story}</p></body></html>
"""


def build(document: Callable[[], bytes], live_document: Callable[[], bytes]) -> APIRouter:
    """Make the routes. document writes the OpenAPI document, live_document the AsyncAPI one; the routes here are not part of them."""
    router = APIRouter(include_in_schema=False, dependencies=[open_to_all])

    def add(path: str, handler: Any) -> None:
        router.add_api_route(path, handler, methods=["GET"], response_model=None)

    async def openapi() -> Response:
        return Response(document(), media_type="application/json")

    async def asyncapi() -> Response:
        return Response(live_document(), media_type="application/json")

    add("/", lead_to_docs)
    add("/asyncapi.json", asyncapi)
    add("/openapi.json", openapi)
    add("/docs", page)
    add("/docs/assets/{name}", asset)
    add("/docs/problems/{code}", problem_page)
    return router


async def lead_to_docs() -> Response:
    """Lead to the documentation, until there is a dashboard."""
    return RedirectResponse("/docs", 307)


async def page() -> Response:
    """Show the documentation."""
    return Response(PAGE, media_type="text/html", headers=POLICY)


async def asset(name: str) -> Response:
    """Serve a file of the documentation's page. Raises NotFound."""
    if name == "start.js":
        return Response(START, media_type="text/javascript", headers=DAY)
    if name not in ASSETS:
        raise NotFound("there is no such file")
    return Response(_read_asset(name), media_type=ASSETS[name], headers=DAY)


async def problem_page(code: str) -> Response:
    """Explain a problem's `type`. Raises NotFound."""
    if code in DOOR_PROBLEMS:
        return _explain(code, DOOR_PROBLEMS[code], "")
    for error, kind in PROBLEMS.items():
        if error.code == code:
            return _explain(code, kind, error.__doc__ or "")
    raise NotFound("there is no such problem")


@cache
def _read_asset(name: str) -> bytes:
    found = find_spec(ASSETS_PACKAGE)
    assert found is not None, f"{ASSETS_PACKAGE} is not installed"
    assert found.origin is not None
    return Path(found.origin).parent.joinpath("static", name).read_bytes()


def _explain(code: str, kind: ProblemKind, story: str) -> Response:
    content = PROBLEM_PAGE.format(code=code, title=html.escape(kind.title), status=kind.status, story=html.escape(story))
    return Response(content, media_type="text/html", headers=POLICY)
