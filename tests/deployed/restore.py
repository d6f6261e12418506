"""Back a filled queue up, lose the server, restore it to a moment, run the one command, go on: what runs again, what is forgotten.

    python -m tests.deployed.restore [--jobs 20000]

A base backup and the archive of the log, as docs/operating.md sets them up. Between the backup and the moment jobs are submitted, claimed
and settled; after the moment, too, and that part is lost on purpose. A worker of the lost time keeps its tokens and tries them on the
restored queue.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx2

from jobqueue.apps.embedded import EmbeddedServer
from jobqueue.operations import migrations
from tests.deployed.load import drained
from tests.deployed.servers import DATABASE, connected, copy, directory, kill, server_in
from tests.deployed.telling import say
from tests.whole.roles import Roles, each, until

HAND_TYPE: Final = "by_hand"
MOMENT: Final = "the_moment"
LEASE_S: Final = 3600
ARCHIVED_S_MAX: Final = 60.0


@dataclass
class Story:
    """What happened before and after the moment, by idempotency key or token."""

    early: dict[str, str] = field(default_factory=dict)
    """Ended before the moment."""
    settled: dict[str, str] = field(default_factory=dict)
    """token -> job: settled by hand before the moment."""
    held: dict[str, str] = field(default_factory=dict)
    """token -> job: leased at the moment, not settled since."""
    ended_later: dict[str, str] = field(default_factory=dict)
    """token -> job: leased at the moment, settled after it."""
    later: dict[str, str] = field(default_factory=dict)
    """Submitted after the moment."""
    cursor: int = 0
    """The newest number a stream had when all was lost."""
    deleted_key: tuple[str, str] = ("", "")
    """Id and secret of an API key that was there at the moment and deleted after it."""
    late_key: str = ""
    """An API key made after the moment."""
    token: str = ""
    """A JWT of a key that is there in both lives."""


@dataclass(frozen=True)
class Told:
    """What was found, for whoever reads it."""

    jobs: int
    ran_again: int
    forgotten: int
    given_back: int
    said: str


async def run(jobs: int) -> Told:
    """Live through it. jobs: how many wait in the queue that is backed up, beside those the story is about."""
    async with directory() as where:
        archive = where / "archive"
        whole = f"cp %p {archive}/%f.part && mv {archive}/%f.part {archive}/%f"  # else half a file may be taken for it
        server = server_in(where / "first", archive_mode="on", archive_command=whole, wal_level="replica")
        restored = server_in(
            where / "second", restore_command=f"cp {archive}/%f %p", recovery_target_name=MOMENT, recovery_target_action="promote"
        )
        try:
            await server.start()
            make_for(server, archive)
            await server.ensure_database(DATABASE)
            await migrations.upgrade(server.dsn(DATABASE))
            story, api_key = await _first_life(server, restored, archive, where, jobs)
            await _restore(restored)
            return await _second_life(restored, where, story, api_key)
        finally:
            await server.stop()
            await restored.stop()


def make_for(server: EmbeddedServer, made: Path) -> None:
    """Make a directory the server may write to."""
    made.mkdir(mode=0o755)
    account = server._account()
    if account is not None:
        os.chown(made, account.pw_uid, account.pw_gid)


async def _first_life(server: EmbeddedServer, copied: EmbeddedServer, archive: Path, where: Path, jobs: int) -> tuple[Story, str]:
    roles = _roles(server, where / "first_logs")
    try:
        await roles.start_api()
        async with roles.client() as client:
            story = await _until_the_moment(server, copied, client, jobs)
            await _after_the_moment(server, client, story, archive)
            return story, roles.api_key
    finally:
        kill(server)
        roles.kill()
        roles.stop()


async def _until_the_moment(server: EmbeddedServer, copied: EmbeddedServer, client: httpx2.AsyncClient, jobs: int) -> Story:
    story = Story()
    await _fill(client, jobs)
    made = (await client.post("/v1/api-keys", json={"name": "late", "scopes": ["jobs:read"]})).json()
    story.deleted_key = (made["id"], made["api_key"])
    story.early = dict(zip(*await _submit(client, "early", 20), strict=True))
    assert set(await _settle(client, await _claim(client, 20))) == {"settled"}
    await copy(server, copied)  # the base backup; what follows is in the archive only
    await _submit(client, "hand", 30)
    leases = await _claim(client, 20)
    tokens = list(leases)
    story.settled = {token: leases[token] for token in tokens[:5]}
    assert set(await _settle(client, story.settled)) == {"settled"}
    story.ended_later = {token: leases[token] for token in tokens[5:10]}
    story.held = {token: leases[token] for token in tokens[10:]}
    async with connected(server.dsn(DATABASE)) as connection:
        await connection.execute("SELECT pg_create_restore_point($1)", MOMENT)
    return story


async def _after_the_moment(server: EmbeddedServer, client: httpx2.AsyncClient, story: Story, archive: Path) -> None:
    assert set(await _settle(client, story.ended_later)) == {"settled"}
    story.later = dict(zip(*await _submit(client, "later", 10), strict=True))
    assert (await client.delete(f"/v1/api-keys/{story.deleted_key[0]}")).is_success
    story.late_key = (await client.post("/v1/api-keys", json={"name": "later", "scopes": ["jobs:read"]})).json()["api_key"]
    api_key = client.headers["Authorization"].removeprefix("Bearer ")
    story.token = (await client.post("/auth/token", json={"api_key": api_key})).json()["access_token"]
    assert (await _who(client, story.late_key), await _who(client, story.token)) == (200, 200)
    async with connected(server.dsn(DATABASE)) as connection:
        story.cursor = 8 * await connection.fetchval("SELECT last_value FROM jobqueue.event_seq")
        segment = await connection.fetchval("SELECT pg_walfile_name(pg_switch_wal())")
    async with asyncio.timeout(ARCHIVED_S_MAX):
        while not (archive / segment).exists():
            await asyncio.sleep(0.05)


async def _restore(server: EmbeddedServer) -> None:
    """Start the copy; it reads the archive up to the moment and takes writes then."""
    cluster = server.data_dir / "cluster"
    (cluster / "recovery.signal").touch()
    await server.start()
    async with connected(server.dsn()) as connection, asyncio.timeout(ARCHIVED_S_MAX):
        while await connection.fetchval("SELECT pg_is_in_recovery()"):
            await asyncio.sleep(0.05)


async def _second_life(server: EmbeddedServer, where: Path, story: Story, api_key: str) -> Told:
    roles = _roles(server, where / "second_logs")
    roles.api_key = api_key
    try:
        command = roles.start("restored")
        assert await asyncio.to_thread(command.wait, 60) == 0, (where / "second_logs" / "0-restored.log").read_text()
        said = (where / "second_logs" / "0-restored.log").read_text()
        assert f"given back: {len(story.held) + len(story.ended_later)} leases" in said, said
        await roles.wait_until_ready(roles.start("api", "--port", str(roles.port)))
        async with roles.client() as client:
            await _old_tokens_are_nobodys(client, story)
            await _streams_start_over(client, story)
            assert await _who(client, story.deleted_key[1]) == 200, "a key deleted after the moment lives again"
            assert await _who(client, story.late_key) == 401, "a key made after the moment is gone"
            assert await _who(client, story.token) == 200, "tokens go on"
            assert (await client.get("/v1/queues/filled")).json()["paused"], "settings are as they were then"
            again = await _forgotten_is_made_anew(client, story)
            kept = await _submit(client, "early", 20, expected=200)
            assert dict(zip(*kept, strict=True)) == story.early, "a key from before the moment is still its job's"
            ran_again = await _ran_again(client, story)
            roles.start("worker")
            assert (await client.post("/v1/queues/filled/resume")).status_code == 200
            await _rest_ends(server, client)
            total = (await client.get("/v1/jobs/stats")).json()["total"]
        return Told(total, ran_again, len(again), len(story.held) + len(story.ended_later), said)
    finally:
        roles.stop()


async def _old_tokens_are_nobodys(client: httpx2.AsyncClient, story: Story) -> None:
    """Of what was leased at the moment; a token that had settled before it is still known as that."""
    assert set(await _settle(client, story.held)) == {"lease_lost"}
    assert set(await _settle(client, story.ended_later)) == {"lease_lost"}
    assert set(await _settle(client, story.settled)) == {"replayed"}


async def _streams_start_over(client: httpx2.AsyncClient, story: Story) -> None:
    async with client.stream("GET", "/v1/events", headers={"Last-Event-ID": str(story.cursor)}) as answer, asyncio.timeout(30):
        assert answer.status_code == 200
        async for line in answer.aiter_lines():
            if line.startswith("event:"):
                assert line.split(":")[1].strip() in ("reset", "ready"), line
                if "reset" in line:
                    return
    raise AssertionError("the stream ended without telling to start over")


async def _forgotten_is_made_anew(client: httpx2.AsyncClient, story: Story) -> dict[str, str]:
    for job_id in story.later.values():
        assert (await client.get(f"/v1/jobs/{job_id}")).status_code == 404
    again = dict(zip(*await _submit(client, "later", len(story.later)), strict=True))
    assert again.keys() == story.later.keys()
    assert not set(again.values()) & set(story.later.values())
    return again


async def _ran_again(client: httpx2.AsyncClient, story: Story) -> int:
    """What was leased at the moment comes out again, as the same attempt under another token; the old one does not settle it."""
    open_then = {**story.held, **story.ended_later}
    leases = await _claim(client, 500)
    again = {token: job_id for token, job_id in leases.items() if job_id in open_then.values()}
    assert sorted(again.values()) == sorted(open_then.values())
    assert not set(again) & set(open_then)
    assert not set(leases.values()) & set(story.settled.values()), "what had ended before the moment does not run again"
    assert set(await _settle(client, open_then)) == {"lease_lost"}, "an old token cannot settle a new lease"
    for job_id in again.values():
        job = (await client.get(f"/v1/jobs/{job_id}")).json()
        assert (job["status"], job["attempt"]) == ("leased", 1), job
    assert set(await _settle(client, leases)) == {"settled"}
    return len(again)


async def _rest_ends(server: EmbeddedServer, client: httpx2.AsyncClient) -> None:
    await drained(server.dsn(DATABASE), within_s=240)
    await until(lambda: _are_all_succeeded(client), within_s=60)


async def _are_all_succeeded(client: httpx2.AsyncClient) -> bool:
    stats = (await client.get("/v1/jobs/stats")).json()
    return bool(stats["by_status"]["succeeded"] == stats["total"] > 0)


# ------------------------------------------------------------------------------------------------------- the calls


def _roles(server: EmbeddedServer, logs: Path) -> Roles:
    logs.mkdir()
    return Roles(server.dsn(DATABASE), logs, {"JOBQUEUE_LOG_LEVEL": "error"})


async def _fill(client: httpx2.AsyncClient, jobs: int) -> None:
    """Jobs that wait over the whole story: they are due in the second life."""

    async def batch(start: int) -> None:
        body = [
            {"idempotency_key": f"fill-{number}", "payload": {"job_type": "echo"}, "queue": "filled"}
            for number in range(start, min(start + 1000, jobs))
        ]
        assert (await client.post("/v1/jobs/batch", json={"jobs": body})).status_code == 200

    assert (await client.post("/v1/queues/filled/pause")).status_code == 200
    await each(range(0, jobs, 1000), batch, clients=4)


async def _submit(client: httpx2.AsyncClient, name: str, count: int, *, expected: int = 201) -> tuple[list[str], list[str]]:
    keys = [f"{name}-{number}" for number in range(count)]

    async def one(key: str) -> str:
        answer = await client.post("/v1/jobs", json={"payload": {"job_type": HAND_TYPE}}, headers={"Idempotency-Key": key})
        assert answer.status_code == expected, answer.text
        return str(answer.json()["id"])

    return keys, await each(keys, one, clients=8)


async def _claim(client: httpx2.AsyncClient, count: int) -> dict[str, str]:
    worker = f"hand-{uuid.uuid4().hex[:8]}"
    body = {"queues": ["*"], "job_types": [HAND_TYPE], "concurrency": 500, "version": "1"}
    assert (await client.put(f"/v1/workers/{worker}", json=body)).status_code == 200
    asked = {
        "worker_id": worker,
        "claim_id": str(uuid.uuid4()),
        "queues": ["*"],
        "job_types": [HAND_TYPE],
        "max_jobs": count,
        "wait_seconds": 10,
        "lease_seconds": LEASE_S,
    }
    answer = await client.post("/v1/leases", json=asked)
    assert answer.status_code == 200, answer.text
    return {lease["lease_token"]: lease["job"]["id"] for lease in answer.json()["leases"]}


async def _who(client: httpx2.AsyncClient, credential: str) -> int:
    return (await client.get("/auth/me", headers={"Authorization": f"Bearer {credential}"})).status_code


async def _settle(client: httpx2.AsyncClient, leases: dict[str, str]) -> list[str]:
    outcomes = [{"job_id": job_id, "lease_token": token, "outcome": "succeeded"} for token, job_id in leases.items()]
    answer = await client.post("/v1/leases/settle", json={"outcomes": outcomes})
    assert answer.status_code == 200, answer.text
    return [result["status"] for result in answer.json()["results"]]


def main() -> int:
    """Run and tell; an assertion says what was not as promised."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=20_000)
    told = asyncio.run(run(parser.parse_args().jobs))
    say(told.said)
    say(
        f"{told.jobs} jobs after the restore, all succeeded; {told.given_back} leases given back, {told.ran_again} of them ran again under "
        f"new tokens; {told.forgotten} keys from after the moment were forgotten and made new jobs; old tokens settled nothing"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
