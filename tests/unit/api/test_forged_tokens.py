"""No forged token is taken on any route, all are refused in the same words, and none makes us look anywhere."""

from typing import Any

import orjson

from jobqueue.domain.access import Scope
from jobqueue.domain.errors import Unauthenticated
from tests.unit.api.application import OneKey, make_app
from tests.unit.api.forged import craft, forged, good_claims, good_header
from tests.unit.api.test_guards import OPEN, routes

FORGED = forged()
GUARDED = [route for route in routes() if route.path not in OPEN]


class WatchedKey(OneKey):
    """Notes which keys are asked for."""

    def __init__(self) -> None:
        super().__init__(tuple(Scope))
        self.asked: list[str] = []

    async def still_lives(self, key_id: str) -> Any:
        self.asked.append(key_id)
        return await super().still_lives(key_id)


class WatchedUsers:
    """A ring without users that notes which are asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def still_lives(self, user_id: str) -> Any:
        self.asked.append(user_id)
        raise Unauthenticated("the credential is not valid")


async def call(app: Any, method: str, path: str, *credentials: str, query: bytes = b"") -> tuple[int, dict[str, Any], dict[str, bytes]]:
    """One request, straight into the application: thousands of them go through a client no faster."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [(b"host", b"api"), *((b"authorization", b"Bearer " + credential.encode()) for credential in credentials)]
    scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": query, "headers": headers}
    await app({**scope, "http_version": "1.1", "scheme": "http", "root_path": "", "client": ("127.0.0.1", 1)}, receive, send)
    body = orjson.loads(sent[1]["body"]) if sent[0]["status"] == 401 else {}
    body.pop("request_id", None)
    return sent[0]["status"], body, dict(sent[0]["headers"])


def test_there_are_many_ways_to_be_wrong() -> None:
    assert len(FORGED) >= 60
    assert len(set(FORGED.values())) == len(FORGED)


async def test_the_good_token_all_of_them_were_made_from_is_taken_on_every_route() -> None:
    app = make_app(keys=WatchedKey())
    for token in (craft(), craft(good_header(kid=...)), craft(good_header(typ=...))):
        assert (await call(app, "GET", "/auth/me", token))[0] == 200
    for route in GUARDED:
        for method in route.methods:  # no route has this parameter, and that is said to those who were let in only
            assert (await call(app, method, route.path, craft(), query=b"nonsense=1"))[0] == 422, route.path


async def test_no_forged_token_is_taken_on_any_route_and_all_are_refused_in_the_same_words() -> None:
    keys, users = WatchedKey(), WatchedUsers()
    app = make_app(keys=keys, users=users)
    seen = set()
    for number, (what, token) in enumerate(FORGED.items()):
        for route in GUARDED if number % 2 == 0 else GUARDED[::6]:
            for method in route.methods:
                status, body, headers = await call(app, method, route.path, token)
                assert status == 401, (what, method, route.path)
                assert headers[b"www-authenticate"] == b'Bearer realm="jobqueue"', what
                seen.add(orjson.dumps(body))
    assert len(seen) == 1
    assert len(list(FORGED)[::2]) >= 60, "on every route; the others on some"
    signed = {"", "k1", "k2", "../k1", "' OR 1=1 --", "018f0000-0000-7000-8000-000000000000"}
    assert set(keys.asked + users.asked) <= signed, "only the subject of what we signed is ever looked up, or an API key that is none"


async def knock(app: Any, *credentials: str) -> tuple[int, dict[str, Any]]:
    """Ask for the live feed's socket; answers how that was refused."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [(b"host", b"api"), *((b"authorization", b"Bearer " + credential.encode()) for credential in credentials)]
    scope = {"type": "websocket", "path": "/ws/jobs", "raw_path": b"/ws/jobs", "query_string": b"", "headers": headers, "subprotocols": []}
    extensions = {"websocket.http.response": {}}
    await app({**scope, "http_version": "1.1", "scheme": "ws", "root_path": "", "extensions": extensions}, receive, send)
    body = orjson.loads(sent[1]["body"])
    body.pop("request_id")
    return sent[0]["status"], body


async def test_no_forged_token_opens_a_socket_and_all_are_refused_in_the_same_words() -> None:
    app = make_app(keys=WatchedKey())
    expected = (await call(app, "GET", "/auth/me", FORGED["twice"]))[1]
    for what, token in FORGED.items():
        assert await knock(app, token) == (401, expected), what
    for credentials in ((), (craft(), craft())):
        assert await knock(app, *credentials) == (401, expected)
    assert (await knock(app, craft()))[0] == 503, "the good one is let in, where there is a server that can carry a socket"


async def test_a_token_whose_key_is_gone_is_refused_in_the_same_words_on_every_route() -> None:
    keys = WatchedKey()
    keys.lives = False
    app = make_app(keys=keys)
    expected = (await call(app, "GET", "/auth/me", FORGED["twice"]))[1]
    for route in GUARDED:
        for method in route.methods:
            assert (await call(app, method, route.path, craft()))[:2] == (401, expected), route.path


async def test_of_two_credentials_none_is_taken() -> None:
    app = make_app(keys=WatchedKey())
    for credentials in ((craft(), craft()), (craft(), FORGED["twice"]), (FORGED["twice"], craft()), ()):
        assert (await call(app, "GET", "/auth/me", *credentials))[0] == 401


async def test_a_token_gives_no_scope_its_key_has_not() -> None:
    app = make_app(keys=OneKey([Scope.WORK]))
    token = craft(claims=good_claims(scopes=list(Scope)))
    assert (await call(app, "GET", "/v1/tenants", token))[0] == 403
    assert (await call(app, "GET", "/v1/jobs", token))[0] == 403
