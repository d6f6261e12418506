# What the scripts here share: where the service is, how it is asked, how an answer is read. Sourced, not run.
# shellcheck shell=bash

URL="${JOBQUEUE_URL:-http://127.0.0.1:8000}"
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

say() { printf '%s\n' "$*"; }

fail() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

need() {
  local tool
  for tool in "$@"; do
    command -v "$tool" >/dev/null || fail "$tool is not installed"
  done
}

# The key: JOBQUEUE_API_KEY, else the one `jobqueue dev` wrote where it was started, or in this checkout.
api_key() {
  if [ -n "${JOBQUEUE_API_KEY:-}" ]; then
    printf '%s' "$JOBQUEUE_API_KEY"
  elif [ -r .jobqueue/api_key ]; then
    cat .jobqueue/api_key
  elif [ -r "$ROOT/.jobqueue/api_key" ]; then
    cat "$ROOT/.jobqueue/api_key"
  else
    fail "no key: set JOBQUEUE_API_KEY, or start jobqueue dev here"
  fi
}

# Read a field of the JSON on stdin: field a.b
field() {
  python3 -c 'import json, sys
value = json.load(sys.stdin)
for name in sys.argv[1].split("."):
    value = value[int(name)] if isinstance(value, list) else value[name]
print(value if isinstance(value, str) else json.dumps(value))' "$1"
}

# Ask the service; a refusal ends the script with what it said. call METHOD PATH [curl's arguments]
call() {
  local method="$1" path="$2" answer
  shift 2
  if ! answer="$(curl -sS --fail-with-body -X "$method" -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' "$@" "$URL$path")"; then
    fail "$method $path: ${answer:-no answer from $URL}"
  fi
  printf '%s' "$answer"
}

# Print the comment a script opens with, as its help.
usage() { awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"; }
