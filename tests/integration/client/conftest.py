"""The client on the real application, in this process."""

from collections.abc import AsyncIterator

import httpx2
import pytest_asyncio

from jobqueue import AsyncClient
from tests.integration.api.conftest import Api, api

__all__ = ["api"]


@pytest_asyncio.fixture
async def queue(api: Api) -> AsyncIterator[AsyncClient]:
    """A client with the tenant's key."""
    transport = httpx2.ASGITransport(app=api.app)
    async with AsyncClient("http://api", api_key=api.key, transport=transport, retry_for=0) as client:
        yield client
