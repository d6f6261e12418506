#!/usr/bin/env bash
# Ask until the service refuses, wait as long as it says, and see that the next request passes.
#
#   scripts/test-rate-limit.sh [REQUESTS]    at most 400 unless said; JOBQUEUE_URL says where
#
# With JOBQUEUE_API_KEY the key's tenant is used up. Without, a tenant is registered for it, where registration is open (jobqueue dev), so
# that nobody else's rate is touched.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

case "${1:-}" in -h | --help) usage && exit 0 ;; esac
REQUESTS="${1:-400}"
case "$REQUESTS" in '' | *[!0-9]*) fail "REQUESTS must be a number, not '$REQUESTS'" ;; esac
need curl python3
if [ -n "${JOBQUEUE_API_KEY:-}" ]; then
  KEY="$JOBQUEUE_API_KEY"
else
  KEY=none
  TENANT="rate-$(date +%s)-$$"
  KEY="$(call POST /auth/register -d "{\"email\": \"$TENANT@example.com\", \"password\": \"only for a test $TENANT\", \"tenant\": \"$TENANT\"}" | field access_token)"
  say "registered the tenant $TENANT"
fi

HEADERS="$(mktemp)"
trap 'rm -f "$HEADERS"' EXIT
ask() { curl -sS -o /dev/null -D "$HEADERS" -w '%{http_code}' -H "Authorization: Bearer $KEY" "$URL/v1/jobs/stats"; }
header() { awk -F ': *' -v name="$1" 'tolower($1) == name { sub(/\r$/, "", $2); print $2 }' "$HEADERS"; }

passed=0
status=
for _ in $(seq 1 "$REQUESTS"); do
  status="$(ask)"
  [ "$status" = 200 ] || break
  passed=$((passed + 1))
done
say "$passed requests passed; RateLimit-Policy: $(header ratelimit-policy)"
[ "$status" = 429 ] || fail "no refusal within $REQUESTS requests, the last answer was $status; ask for more, or use a tenant with a lower rate"
WAIT="$(header retry-after)"
say "then 429 with Retry-After: $WAIT, RateLimit: $(header ratelimit)"
sleep "$WAIT"
status="$(ask)"
[ "$status" = 200 ] || fail "after $WAIT s the next request was answered $status"
say "after $WAIT s the next request passed"
