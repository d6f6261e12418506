#!/usr/bin/env bash
# Follow one request through the system: submit a job under a trace and a correlation id of its own, wait for its end, show its history, and
# the trace's spans where a Jaeger is to be had.
#
#   scripts/trace-request.sh [JOB_TYPE]      echo unless said; JOBQUEUE_URL, JOBQUEUE_API_KEY, JAEGER_URL (http://127.0.0.1:16686) say where
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

case "${1:-}" in -h | --help) usage && exit 0 ;; esac
TYPE="${1:-echo}"
JAEGER="${JAEGER_URL:-http://127.0.0.1:16686}"
need curl python3 od
KEY="$(api_key)"
random_hex() { od -An -N "$1" -tx1 /dev/urandom | tr -d ' \n'; }
TRACE="$(random_hex 16)"
CORRELATION="trace-request-$(random_hex 4)"

JOB="$(call POST /v1/jobs -H "Idempotency-Key: $CORRELATION" -H "X-Correlation-Id: $CORRELATION" -H "traceparent: 00-$TRACE-$(random_hex 8)-01" \
  -d "{\"payload\": {\"job_type\": \"$TYPE\"}}" | field id)"
say "job $JOB, trace $TRACE, correlation id $CORRELATION (in every log line of it)"
DONE="$(call GET "/v1/jobs/$JOB?wait=30")"
say "ended: $(field status <<<"$DONE"), attempt $(field attempt <<<"$DONE"); its trace as the job has it: $(field trace_id <<<"$DONE")"
call GET "/v1/jobs/$JOB/events" | python3 -c 'import json, sys
for item in json.load(sys.stdin)["items"]:
    print("  {at}  {type:20} {worker_id}".format(**{**item, "worker_id": item["worker_id"] or ""}))'

if curl -sS -o /dev/null --max-time 3 "$JAEGER/api/services" 2>/dev/null; then
  curl -sS "$JAEGER/api/traces/$TRACE" | python3 -c 'import json, sys
found = json.load(sys.stdin).get("data") or []
spans = sorted((span for trace in found for span in trace["spans"]), key=lambda span: span["startTime"])
for span in spans:
    print("  span {:20} {:8.1f} ms".format(span["operationName"], span["duration"] / 1000))
if not spans:
    print("  no spans yet: does the service export to this Jaeger (OTEL_EXPORTER_OTLP_ENDPOINT)?")'
  say "the whole of it: $JAEGER/trace/$TRACE"
else
  say "no Jaeger answers at $JAEGER, so no spans are shown; JAEGER_URL says where it is"
fi
