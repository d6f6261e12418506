import asyncio
from collections.abc import Callable

import pytest

from jobqueue.operations import remembered
from jobqueue.protocol.access import Me, Token
from tests.integration.api.conftest import Api, make_key


async def exchange(api: Api, key: str) -> str:
    answer = await api.client.post("/auth/token", json={"api_key": key})
    assert answer.status_code == 200
    token = Token.model_validate_json(answer.content)
    assert (token.token_type, token.expires_in) == ("bearer", 900)
    return token.access_token


async def test_a_key_and_its_token_are_the_same_caller(api: Api) -> None:
    token = await exchange(api, api.key)
    async with api.as_other(token) as client:
        by_token = Me.model_validate_json((await client.get("/auth/me")).content)
    by_key = Me.model_validate_json((await api.client.get("/auth/me")).content)
    assert by_key == by_token
    assert (by_key.kind, by_key.tenant_id) == ("key", "acme")
    assert by_key.scopes == ["jobs:read", "jobs:write", "metrics:read", "tenant:admin", "work"]


def with_last_changed(key: str) -> str:
    return key[:-1] + ("0" if key[-1] != "0" else "1")


@pytest.mark.parametrize("change", [with_last_changed, str.lower, lambda key: key + "0"])
async def test_a_key_that_is_not_quite_right_is_refused(api: Api, change: Callable[[str], str]) -> None:
    wrong = change(api.key)
    assert (await api.client.post("/auth/token", json={"api_key": wrong})).status_code == 401
    async with api.as_other(wrong) as client:
        assert (await client.get("/auth/me")).status_code == 401


async def test_a_deleted_key_and_its_tokens_stop_within_five_seconds(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    key = await make_key(api.engine, api.caller)
    token = await exchange(api, key)
    await api.engine.raw.execute("DELETE FROM jobqueue.api_key WHERE api_key_id = $1", key.split("_")[1])
    assert remembered.VERIFIED_S_MAX <= 4
    monkeypatch.setattr(remembered, "VERIFIED_S_MAX", 0.0)
    for credential in (key, token):
        async with api.as_other(credential) as client:
            assert (await client.get("/auth/me")).status_code == 401


async def test_an_expired_key_is_refused(api: Api) -> None:
    key = await make_key(api.engine, api.caller)
    past = "clock_timestamp() - interval '1 s'"
    await api.engine.raw.execute(f"UPDATE jobqueue.api_key SET expires_at = {past} WHERE api_key_id = $1", key.split("_")[1])
    async with api.as_other(key) as client:
        assert (await client.get("/auth/me")).status_code == 401


async def test_probes_need_no_credential_and_cost_no_query_each(api: Api) -> None:
    async with api.as_other("") as client:
        async with asyncio.TaskGroup() as group:
            probes = [group.create_task(client.get("/healthz/ready?verbose")) for _ in range(20)]
        assert {probe.result().status_code for probe in probes} == {200}
        assert probes[0].result().json()["checks"] == {"process": "ok", "database": "ok", "schema": "ok"}
