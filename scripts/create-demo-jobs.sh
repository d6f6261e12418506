#!/usr/bin/env bash
# Submit a mixture of jobs, so that there is something to look at: quick ones, slow ones, some that fail and end in the dead letter queue,
# some for later, some critical.
#
#   scripts/create-demo-jobs.sh [COUNT]      50 unless said; JOBQUEUE_URL and JOBQUEUE_API_KEY say where
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

case "${1:-}" in -h | --help) usage && exit 0 ;; esac
COUNT="${1:-50}"
case "$COUNT" in '' | *[!0-9]*) fail "COUNT must be a number, not '$COUNT'" ;; esac
need curl python3
KEY="$(api_key)"
RUN="demo-$(date +%s)-$$"

body() {
  case $(($1 % 10)) in
  0) say '{"payload": {"job_type": "sleep", "data": {"duration": 5}}, "tags": ["demo", "slow"]}' ;;
  1) say '{"payload": {"job_type": "sleep", "data": {"duration": 0.1, "fail_simulation": true}}, "max_attempts": 1, "tags": ["demo", "fails"]}' ;;
  2) say '{"payload": {"job_type": "echo", "data": {"message": "later"}}, "delay_seconds": 600, "tags": ["demo", "later"]}' ;;
  3) say '{"payload": {"job_type": "echo", "data": {"message": "at once"}}, "priority": "critical", "tags": ["demo"]}' ;;
  *) say "{\"payload\": {\"job_type\": \"echo\", \"data\": {\"number\": $1}}, \"tags\": [\"demo\"]}" ;;
  esac
}

for number in $(seq 1 "$COUNT"); do
  call POST /v1/jobs -H "Idempotency-Key: $RUN-$number" -d "$(body "$number")" >/dev/null
done
say "submitted $COUNT jobs to $URL, each with the tag demo and a key that begins with $RUN"
say "now: $(call GET /v1/jobs/stats | field by_status)"
