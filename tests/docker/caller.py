"""A caller of the API over the published port. Standard library only; it tries again what may be tried again."""

import json
import time
import urllib.error
import urllib.request
from typing import Any

from tests.docker.engine import Wrong

TRIES_S_MAX = 120.0
PAUSE_S = 0.5


class Caller:
    """Asks with one key. submit() goes on with the same keys through 503 and broken connections, as the contract says is safe."""

    def __init__(self, url: str, api_key: str) -> None:
        self._url = url
        self._api_key = api_key
        self.refusals = 0

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        """Ask once. Raises HTTPError, OSError."""
        data = None if body is None else json.dumps(body).encode()
        all_headers = {"Authorization": f"Bearer {self._api_key}", **{name.replace("_", "-"): value for name, value in headers.items()}}
        request = urllib.request.Request(self._url + path, data=data, method=method, headers=all_headers)
        with urllib.request.urlopen(request, timeout=40) as answer:
            return json.load(answer)

    def ask_until_answered(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        """Ask again while the service or its database is away. Raises Wrong after TRIES_S_MAX, and on any other refusal."""
        end = time.monotonic() + TRIES_S_MAX
        while True:
            try:
                return self.ask(method, path, body, **headers)
            except urllib.error.HTTPError as error:
                said = error.read().decode(errors="replace")
                if error.code not in (429, 503):
                    raise Wrong(f"{method} {path}: {error.code} {said}") from error
            except OSError as error:
                said = str(error)
            if time.monotonic() > end:
                raise Wrong(f"{method} {path}: {said}")
            self.refusals += 1
            time.sleep(PAUSE_S)

    def submit(self, keys: list[str], *, job_type: str, data: object, tag: str) -> list[str]:
        """Submit a batch; answers the ids."""
        jobs = [{"idempotency_key": key, "payload": {"job_type": job_type, "data": data}, "tags": [tag]} for key in keys]
        results = self.ask_until_answered("POST", "/v1/jobs/batch", {"jobs": jobs})["results"]
        if any(result["status"] == "conflict" for result in results):
            raise Wrong(f"conflict in {results}")
        return [result["id"] for result in results]

    def jobs(self, tag: str) -> list[dict[str, Any]]:
        """Every job with the tag, over all pages."""
        found: list[dict[str, Any]] = []
        path = f"/v1/jobs?tag={tag}&page_size=200"
        while True:
            page = self.ask_until_answered("GET", path)
            found += page["items"]
            if not page["has_more"]:
                return found
            path = f"/v1/jobs?tag={tag}&page_size=200&cursor={page['next_cursor']}"
