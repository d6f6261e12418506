#!/usr/bin/env bash
# Put locust's load on a running service and judge that no job doubled or vanished; the report is in build/load.
#
#   scripts/run-locust-test.sh [USERS [SECONDS]]     40 users for 60 s unless said; JOBQUEUE_URL and JOBQUEUE_API_KEY say where
#
# The same as `make test-load` (docs/load.md), which without JOBQUEUE_URL starts a service of its own.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

case "${1:-}" in -h | --help) usage && exit 0 ;; esac
USERS="${1:-40}"
SECONDS_LONG="${2:-60}"
need make curl
curl -sS -o /dev/null --max-time 5 "$URL/healthz/ready" || fail "no service answers at $URL"
JOBQUEUE_API_KEY="$(api_key)"
export JOBQUEUE_URL="$URL" JOBQUEUE_API_KEY
say "$USERS users for $SECONDS_LONG s on $URL"
make -C "$ROOT" --no-print-directory test-load ARGS="--users $USERS --seconds $SECONDS_LONG"
say "report: $ROOT/build/load/report.html"
