import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from jobqueue.operations import remembered, users
from jobqueue.protocol.access import Me, Token
from tests.integration.api.conftest import Api, open_api

EMAIL, PASSWORD = "Ann@Example.com", "correct horse battery staple"
REGISTRATION = {"email": EMAIL, "password": PASSWORD, "tenant": "acorn"}


@pytest_asyncio.fixture
async def api(database: str) -> AsyncIterator[Api]:
    """An API where anybody may register."""
    async with asyncio.timeout(60), open_api(database, is_registration_open=True) as api:
        yield api


async def register(api: Api, **changes: Any) -> httpx2.Response:
    return await api.client.post("/auth/register", json={**REGISTRATION, **changes})


async def log_in(api: Api, email: str = EMAIL, password: str = PASSWORD) -> httpx2.Response:
    return await api.client.post("/auth/login", json={"email": email, "password": password})


def token_of(answer: httpx2.Response) -> str:
    token = Token.model_validate_json(answer.content)
    assert (token.token_type, token.expires_in) == ("bearer", 900)
    return token.access_token


async def me(api: Api, token: str) -> httpx2.Response:
    async with api.as_other(token) as client:
        return await client.get("/auth/me")


async def test_who_registers_owns_a_tenant_and_may_do_everything_in_it(api: Api) -> None:
    answer = await register(api)
    assert answer.status_code == 201, answer.text
    owner = Me.model_validate_json((await me(api, token_of(answer))).content)
    assert (owner.kind, owner.tenant_id) == ("user", "acorn")
    assert owner.scopes == ["jobs:read", "jobs:write", "metrics:read", "tenant:admin", "work"]
    async with api.as_other(token_of(answer)) as client:
        job = await client.post("/v1/jobs", json={"payload": {"job_type": "t"}}, headers={"Idempotency-Key": "k"})
        assert (job.status_code, job.json()["tenant_id"]) == (201, "acorn")
        assert (await client.get("/v1/tenants/acorn")).json()["plan"] == "free"


async def test_registration_where_it_is_closed_makes_nothing(database: str) -> None:
    async with open_api(database) as api:
        answer = await register(api)
        assert (answer.status_code, answer.json()["code"]) == (403, "registration_closed")
        assert await api.engine.raw.fetchval("SELECT count(*) FROM jobqueue.app_user") == 0


@pytest.mark.parametrize("changes", [{"email": "other@example.com"}, {"tenant": "oak"}, {"tenant": "oak", "email": " ann@example.COM"}])
async def test_what_is_taken_is_taken_in_every_spelling_and_half_an_account_is_never_made(api: Api, changes: dict[str, str]) -> None:
    assert (await register(api)).status_code == 201
    answer = await register(api, **changes)
    assert (answer.status_code, answer.json()["code"]) == (409, "name_taken")
    assert await api.engine.raw.fetchval("SELECT count(*) FROM jobqueue.app_user") == 1
    assert await api.engine.raw.fetchval("SELECT count(*) FROM jobqueue.tenant WHERE name = 'oak'") == 0


async def test_of_many_who_register_the_same_at_once_one_wins(api: Api) -> None:
    async with asyncio.TaskGroup() as group:
        answers = [group.create_task(register(api)) for _ in range(6)]
    assert sorted(answer.result().status_code for answer in answers) == [201, *[409] * 5]


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"email": "nobody"}, "/email"),
        ({"password": "password1"}, "/password"),
        ({"password": "short"}, "/password"),
        ({"password": "x" * 257}, "/password"),
        ({"password": EMAIL}, "/password"),
        ({"tenant": "No Name"}, "/tenant"),
        ({"tenant": ""}, "/tenant"),
        ({"admin": True}, "/admin"),
    ],
)
async def test_a_registration_that_will_not_do_is_refused_by_field_and_without_the_password(
    api: Api, changes: dict[str, Any], pointer: str
) -> None:
    answer = await register(api, **changes)
    assert (answer.status_code, [fault["pointer"] for fault in answer.json()["errors"]]) == (422, [pointer])
    assert {**REGISTRATION, **changes}["password"] not in answer.text


async def test_an_owner_logs_in_with_any_spelling_of_the_address(api: Api) -> None:
    await register(api)
    answer = await log_in(api, " ANN@example.com ")
    assert answer.status_code == 200
    assert (await me(api, token_of(answer))).json()["tenant_id"] == "acorn"
    assert await api.engine.raw.fetchval("SELECT logged_in_at IS NOT NULL FROM jobqueue.app_user")


async def test_whatever_is_wrong_about_a_login_is_said_in_the_same_words(api: Api) -> None:
    await register(api)
    await register(api, email="bob@example.com", tenant="oak")
    await users.set_disabled(api.engine.db, "bob@example.com", is_disabled=True)
    tried = [(EMAIL, "wrong password"), ("nobody@example.com", PASSWORD), ("nonsense", PASSWORD), ("", ""), ("bob@example.com", PASSWORD)]
    answers = [await log_in(api, *credentials) for credentials in tried]
    async with api.as_other("nonsense") as client:
        answers.append(await client.get("/auth/me"))
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.text.replace(answer.headers["x-request-id"], "") for answer in answers}) == 1
    assert len({str(sorted(set(answer.headers) - {"x-request-id"})) for answer in answers}) == 1


async def test_a_token_dies_with_its_user_and_comes_back_with_them(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    token = token_of(await register(api))
    assert (await me(api, token)).status_code == 200
    assert remembered.VERIFIED_S_MAX <= 4
    monkeypatch.setattr(remembered, "VERIFIED_S_MAX", 0.0)
    await users.set_disabled(api.engine.db, EMAIL, is_disabled=True)
    assert (await me(api, token)).status_code == 401
    assert (await log_in(api)).status_code == 401
    await users.set_disabled(api.engine.db, EMAIL, is_disabled=False)
    assert (await me(api, token)).status_code == 200
    await api.engine.raw.execute("DELETE FROM jobqueue.app_user")
    assert (await me(api, token)).status_code == 401


async def test_a_user_s_token_has_no_more_scopes_than_the_user_has_now(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "VERIFIED_S_MAX", 0.0)
    token = token_of(await register(api))
    await api.engine.raw.execute("UPDATE jobqueue.app_user SET scopes = '{jobs:read,operator}'")
    assert (await me(api, token)).json()["scopes"] == ["jobs:read"]


async def test_guesses_of_one_account_are_paced_and_the_owner_elsewhere_still_comes_in(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "TRIES_OF_PAIR", 3)
    await register(api)
    answers = [await log_in(api, password=f"guess number {number}") for number in range(5)]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 429, 429]
    refusal = answers[-1]
    assert refusal.json()["code"] == "too_many_attempts"
    assert 190 <= int(refusal.headers["retry-after"]) <= 200  # one of 3 in 10 minutes
    assert (await log_in(api)).status_code == 429, "the right password is a guess as any other"
    assert (await log_in(api, "unknown@example.com")).status_code == 401, "another account is not concerned"
    transport = httpx2.ASGITransport(app=api.app, client=("192.0.2.7", 1))
    async with httpx2.AsyncClient(transport=transport, base_url="http://api") as elsewhere:
        answer = await elsewhere.post("/auth/login", json={"email": EMAIL, "password": PASSWORD})
    assert answer.status_code == 200


async def test_an_unknown_account_is_paced_as_a_known_one(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "TRIES_OF_PAIR", 2)
    answers = [await log_in(api, "unknown@example.com") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [401, 401, 429]


async def test_guesses_from_one_address_are_paced_over_all_accounts(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "TRIES_OF_ADDRESS", 3)
    answers = [await log_in(api, f"user{number}@example.com") for number in range(4)]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 429]
    assert (await register(api)).status_code == 429


async def test_many_guesses_at_once_are_no_more_than_the_rate(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "TRIES_OF_PAIR", 4)
    async with asyncio.TaskGroup() as group:
        answers = [group.create_task(log_in(api, password=f"guess {number}")) for number in range(12)]
    assert sorted(answer.result().status_code for answer in answers) == [*[401] * 4, *[429] * 8]


async def test_a_refused_guess_spends_nothing_of_the_account_s_other_rates(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "TRIES_OF_PAIR", 1)
    monkeypatch.setattr(users, "TRIES_OF_ACCOUNT", 3)
    await register(api)
    assert [(await log_in(api, password="wrong")).status_code for _ in range(5)] == [401, *[429] * 4]
    transport = httpx2.ASGITransport(app=api.app, client=("192.0.2.7", 1))
    async with httpx2.AsyncClient(transport=transport, base_url="http://api") as elsewhere:
        assert (await elsewhere.post("/auth/login", json={"email": EMAIL, "password": PASSWORD})).status_code == 200


async def test_logins_that_succeed_spend_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "TRIES_OF_PAIR", 2)
    await register(api)
    assert {(await log_in(api)).status_code for _ in range(6)} == {200}


async def test_what_tried_nothing_for_long_is_forgotten(api: Api) -> None:
    await log_in(api)
    assert await users.sweep_tries(api.engine.db) == 0
    await api.engine.raw.execute("UPDATE jobqueue.login_bucket SET free_at = clock_timestamp() - interval '1 s'")
    assert await users.sweep_tries(api.engine.db) == 3


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [("2001:db8::1", "2001:db8::2", True), ("2001:db8::1", "2001:db8:0:1::1", False), ("192.0.2.1", "192.0.2.2", False)],
)
def test_a_caller_of_ipv6_is_known_by_its_network(one: str, other: str, is_same: bool) -> None:
    assert (users._network(one) == users._network(other)) is is_same
