import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from jobqueue.domain.access import TENANT_SCOPES, Scope, hash_api_key, read_api_key
from jobqueue.operations import api_keys, remembered
from jobqueue.protocol.access import ApiKey, ApiKeyMade, ApiKeysPage
from tests.integration.api.conftest import Api, make_key


async def make(api: Api, **fields: Any) -> httpx2.Response:
    return await api.client.post("/v1/api-keys", json={"name": "ci", **fields})


async def me(api: Api, credential: str) -> httpx2.Response:
    async with api.as_other(credential) as client:
        return await client.get("/auth/me")


async def test_a_key_is_shown_once_and_only_its_hash_is_kept(api: Api) -> None:
    answer = await make(api, scopes=["work", "jobs:read"])
    assert answer.status_code == 201
    made = ApiKeyMade.model_validate_json(answer.content)
    assert set(answer.json()) == set(ApiKeyMade.model_fields)
    assert re.fullmatch(r"jq_[0-9A-Za-z]{8}_[0-9A-Za-z]{49}", made.api_key)
    assert read_api_key(made.api_key) == made.id
    assert (made.name, made.scopes, made.expires_at) == ("ci", ["jobs:read", "work"], None)
    assert (await me(api, made.api_key)).json() == {"kind": "key", "id": made.id, "tenant_id": "acme", "scopes": ["jobs:read", "work"]}
    row = await api.engine.raw.fetchrow("SELECT * FROM jobqueue.api_key WHERE api_key_id = $1", made.id)
    assert row["secret_sha256"] == hash_api_key(made.api_key)
    assert made.api_key not in str(dict(row))
    listed = await api.client.get("/v1/api-keys")
    assert made.api_key[12:] not in listed.text


async def test_a_key_made_without_scopes_has_its_maker_s(api: Api) -> None:
    maker = await make_key(api.engine, api.caller, [Scope.TENANT_ADMIN, Scope.WORK, Scope.OPERATOR])
    async with api.as_other(maker) as client:
        assert (await client.post("/v1/api-keys", json={"name": "n"})).json()["scopes"] == ["work", "tenant:admin"]


@pytest.mark.parametrize("scope", ["jobs:read", "operator", "metrics:read"])
async def test_a_key_has_at_most_its_maker_s_scopes(api: Api, scope: str) -> None:
    maker = await make_key(api.engine, api.caller, [Scope.TENANT_ADMIN, Scope.WORK])
    async with api.as_other(maker) as client:
        answer = await client.post("/v1/api-keys", json={"name": "n", "scopes": ["work", scope]})
    assert (answer.status_code, answer.json()["code"], answer.json()["scope"]) == (403, "scope_missing", scope)
    assert await api.engine.raw.fetchval("SELECT count(*) FROM jobqueue.api_key WHERE name = 'n'") == 0


async def test_a_token_of_fewer_scopes_makes_no_key_of_more(api: Api) -> None:
    token = (await api.client.post("/auth/token", json={"api_key": api.key})).json()["access_token"]
    key_id = api.key.split("_")[1]
    await api.engine.raw.execute("UPDATE jobqueue.api_key SET scopes = '{tenant:admin}' WHERE api_key_id = $1", key_id)
    key = (await api.client.get("/v1/api-keys")).json()  # whatever is remembered of the key, the token never has more than it was made with
    assert key["items"]
    async with api.as_other(token) as client:
        assert (await client.post("/v1/api-keys", json={"name": "n", "scopes": ["operator"]})).status_code == 403


async def test_operator_is_not_given_over_http(api: Api) -> None:
    maker = await make_key(api.engine, api.caller, [Scope.TENANT_ADMIN, Scope.OPERATOR])
    async with api.as_other(maker) as client:
        answer = await client.post("/v1/api-keys", json={"name": "n", "scopes": ["operator"]})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/scopes/0")


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"scopes": ["nonsense"]}, "/scopes/0"),
        ({"scopes": []}, "/scopes"),
        ({"name": ""}, "/name"),
        ({"name": "n" * 101}, "/name"),
        ({"name": None}, "/name"),
        ({"expires_at": "2001-01-01T00:00:00Z"}, "/expires_at"),
        ({"expires_at": "soon"}, "/expires_at"),
        ({"tenant_id": "other"}, "/tenant_id"),
    ],
)
async def test_a_key_that_will_not_do_is_refused_by_field(api: Api, fields: dict[str, Any], pointer: str) -> None:
    answer = await make(api, **fields)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)


async def test_an_expired_key_and_its_tokens_stop(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "VERIFIED_S_MAX", 0.0)
    expires_at = datetime.now(UTC) + timedelta(hours=1)
    made = (await make(api, expires_at=expires_at.isoformat())).json()
    assert datetime.fromisoformat(made["expires_at"]) == expires_at
    token = (await api.client.post("/auth/token", json={"api_key": made["api_key"]})).json()["access_token"]
    assert [(await me(api, credential)).status_code for credential in (made["api_key"], token)] == [200, 200]
    await api.engine.raw.execute("UPDATE jobqueue.api_key SET expires_at = clock_timestamp() WHERE api_key_id = $1", made["id"])
    assert [(await me(api, credential)).status_code for credential in (made["api_key"], token)] == [401, 401]


async def test_a_deleted_key_and_its_tokens_stop_at_once_here(api: Api) -> None:
    made = (await make(api)).json()
    token = (await api.client.post("/auth/token", json={"api_key": made["api_key"]})).json()["access_token"]
    assert (await me(api, token)).status_code == 200
    assert (await api.client.delete(f"/v1/api-keys/{made['id']}")).status_code == 204
    assert [(await me(api, credential)).status_code for credential in (made["api_key"], token)] == [401, 401]
    assert (await api.client.delete(f"/v1/api-keys/{made['id']}")).status_code == 404


async def test_another_tenant_s_key_is_not_found_and_lives_on(api: Api) -> None:
    other = await make_key(api.engine, await api.engine.tenant("other"))
    answers = [await api.client.delete(f"/v1/api-keys/{key_id}") for key_id in (other.split("_")[1], "AAAAAAAA", "x", "%00")]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.text.replace(answer.headers["x-request-id"], "") for answer in answers}) == 1
    assert (await me(api, other)).status_code == 200


async def test_keys_are_listed_newest_first_page_by_page(api: Api) -> None:
    made = [(await make(api, name=f"key {number}")).json()["id"] for number in range(4)]
    seen: list[ApiKey] = []
    path: str | None = "/v1/api-keys?page_size=2"
    while path is not None:
        answer = await api.client.get(path)
        page = ApiKeysPage.model_validate_json(answer.content)
        seen += page.items
        following = re.search(r'<([^>]+)>; rel="next"', answer.headers["link"])
        assert (following is not None) == page.has_more == (page.next_cursor is not None)
        path = following and following[1]
    assert [key.id for key in seen] == [*reversed(made), api.key.split("_")[1]]
    assert [key.name for key in seen][:2] == ["key 3", "key 2"]
    assert seen[-1].scopes == list(TENANT_SCOPES)


@pytest.mark.parametrize("cursor", ["x", "", "AAAA", "MjAyNi0wMS0wMXxBQUFBQUFBQQ"])
async def test_a_cursor_of_nothing_is_refused(api: Api, cursor: str) -> None:
    answer = await api.client.get("/v1/api-keys", params={"cursor": cursor})
    assert (answer.status_code, answer.json()["code"]) == (400, "cursor_invalid")


async def test_a_key_s_last_use_is_noted_and_at_most_once_a_minute(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    made = (await make(api)).json()

    async def last_used() -> datetime | None:
        return await api.engine.raw.fetchval("SELECT last_used_at FROM jobqueue.api_key WHERE api_key_id = $1", made["id"])

    assert await last_used() is None
    await me(api, made["api_key"])
    first = await last_used()
    assert first is not None
    await me(api, made["api_key"])
    assert await last_used() == first
    monkeypatch.setattr(api_keys, "USE_NOTED_S", 0.0)
    await me(api, made["api_key"])
    assert (await last_used() or first) > first


async def test_a_wrong_secret_is_no_use_of_a_key(api: Api) -> None:
    made = (await make(api)).json()
    other = (await make(api)).json()["api_key"]
    forged = "_".join([*made["api_key"].split("_")[:2], other.split("_")[2]])
    assert (await me(api, forged)).status_code == 401
    assert await api.engine.raw.fetchval("SELECT last_used_at FROM jobqueue.api_key WHERE api_key_id = $1", made["id"]) is None


async def test_a_tenant_has_so_many_keys_and_no_more(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "KEYS_MAX", 2)
    assert (await make(api)).status_code == 201
    answer = await make(api)
    assert (answer.status_code, answer.json()["code"]) == (409, "keys_exhausted")


async def test_keys_need_the_scope_of_those_who_give_rights_out(api: Api) -> None:
    async with api.as_other(await make_key(api.engine, api.caller, [Scope.JOBS_WRITE, Scope.OPERATOR])) as client:
        answers = [await client.get("/v1/api-keys"), await client.post("/v1/api-keys", json={}), await client.delete("/v1/api-keys/x")]
    assert {(answer.status_code, answer.json()["scope"]) for answer in answers} == {(403, "tenant:admin")}
