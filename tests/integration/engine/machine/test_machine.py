"""The short form of the state machine, always of one seed; `make test-model` is the long one, of another each time."""

import os
import sys

import pytest

from tests.integration.engine.machine.run import run_machine

EXAMPLES, STEPS = 12, 60
SEED = 20261126


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_any_order_of_operations_is_as_the_model_says(database: str) -> None:
    number = int(os.environ.get("JOBQUEUE_MODEL_SEED", SEED))
    sys.stdout.write(f"state machine: JOBQUEUE_MODEL_SEED={number}\n")  # pytest shows it with a failure
    run_machine(database, examples=EXAMPLES, steps=STEPS, number=number)
