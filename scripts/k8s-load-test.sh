#!/usr/bin/env bash
# Put load on the cluster's API and watch the workers follow: jobqueue bench through a port-forward, replicas before, during and after.
#
#   scripts/k8s-load-test.sh [JOBS [RATE]]   5,000 jobs at 100 a second unless said; needs kubectl with a context, and JOBQUEUE_API_KEY or
#                                            the key that deploy-local-k8s.sh left in the secret jobqueue-demo-key
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

case "${1:-}" in -h | --help) usage && exit 0 ;; esac
JOBS="${1:-5000}"
RATE="${2:-100}"
PORT="${LOCAL_PORT:-18000}"
need kubectl curl base64
BENCH="$ROOT/.venv/bin/jobqueue"
[ -x "$BENCH" ] || BENCH=jobqueue
need "$BENCH"
in_namespace() { kubectl --namespace jobqueue "$@"; }

in_namespace get deployment jobqueue-worker >/dev/null || fail "no jobqueue on this cluster: scripts/deploy-local-k8s.sh"
KEY="${JOBQUEUE_API_KEY:-$(in_namespace get secret jobqueue-demo-key -o 'jsonpath={.data.api_key}' | base64 -d)}"
[ -n "$KEY" ] || fail "no key: set JOBQUEUE_API_KEY"
replicas() { in_namespace get deployment jobqueue-worker jobqueue-api -o 'custom-columns=NAME:.metadata.name,WANTED:.spec.replicas,READY:.status.readyReplicas'; }

in_namespace port-forward service/jobqueue-api-service "$PORT:8000" >/dev/null &
FORWARD=$!
trap 'kill "$FORWARD" 2>/dev/null || true' EXIT
for _ in $(seq 1 50); do
  curl -sS -o /dev/null "http://127.0.0.1:$PORT/healthz/live" 2>/dev/null && break
  sleep 0.2
done

say "before:" && replicas
"$BENCH" bench --url "http://127.0.0.1:$PORT" --api-key "$KEY" --shape steady --jobs "$JOBS" --rate "$RATE" --type sleep
say "after:" && replicas
in_namespace get hpa
say "put $JOBS jobs at $RATE a second on the cluster; the workers shrink again ten minutes after the load has gone"
