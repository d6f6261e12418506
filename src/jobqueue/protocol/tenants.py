"""A tenant on the line: its plan, its limits, what it has now (CONTRACT 3.2)."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field

from jobqueue.domain.job import TENANT_NAME
from jobqueue.protocol.wire import Answered, Asked, Whole

PlanName = Literal["free", "pro", "business", "enterprise"]
WEIGHT_MAX: Final = 100
CONCURRENCY_MAX: Final = 1_000_000
QUEUED_MAX: Final = 1_000_000_000
RATE_MAX: Final = 1_000_000
NONE_IS_PLANS: Final = "null: the plan's, else the settings'"

Weight = Annotated[int, Field(ge=1, le=WEIGHT_MAX), Whole]
Concurrency = Annotated[int, Field(ge=0, le=CONCURRENCY_MAX), Whole]
Queued = Annotated[int, Field(ge=0, le=QUEUED_MAX), Whole]
Rate = Annotated[int, Field(ge=0, le=RATE_MAX), Whole]


class Usage(Answered):
    """What a tenant has now."""

    running: int = Field(description="Leased ones, too.")
    queued: int = Field(description="All that wait, as max_queued counts them.")
    requests_left: int | None = Field(description="Requests that may come at once; null: no limit.")


class Tenant(Answered):
    """A tenant. Limits are those in force: its own, else its plan's, else the settings'; 0: none."""

    id: str
    plan: PlanName
    weight: int = Field(description="Its share where tenants compete for workers.")
    max_concurrent: int
    max_queued: int
    rate_per_minute: int
    usage: Usage


class TenantsPage(Answered):
    """Tenants, by name."""

    items: list[Tenant]
    next_cursor: str | None
    has_more: bool


class TenantRequest(Asked):
    """A tenant to be made."""

    id: str = Field(json_schema_extra={"pattern": f"^{TENANT_NAME.pattern}$"}, description="Its name: 1-63 of a-z, 0-9 and -.")
    plan: PlanName = "free"
    max_concurrent: Concurrency | None = Field(default=None, description=f"Jobs leased and running at once; 0: no limit; {NONE_IS_PLANS}.")
    max_queued: Queued | None = Field(default=None, description=f"Jobs that wait; 0: no limit; {NONE_IS_PLANS}.")
    rate_per_minute: Rate | None = Field(default=None, description=f"Requests; 0: no limit; {NONE_IS_PLANS}.")


class TenantChange(Asked):
    """What to change; what is left out stays."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    plan: PlanName | None = Field(default=None, description="Brings the plan's weight along, unless `weight` is given; null: as it is.")
    weight: Weight | None = Field(default=None, description="null: the plan's.")
    max_concurrent: Concurrency | None = Field(default=None, description=f"Jobs leased and running at once; 0: no limit; {NONE_IS_PLANS}.")
    max_queued: Queued | None = Field(default=None, description=f"Jobs that wait; 0: no limit; {NONE_IS_PLANS}.")
    rate_per_minute: Rate | None = Field(default=None, description=f"Requests; 0: no limit; {NONE_IS_PLANS}.")
