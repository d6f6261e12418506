#!/usr/bin/env bash
# Deploy the whole stack to a local cluster (kind, minikube, or whichever kubectl points at), with secrets made for it.
#
#   scripts/deploy-local-k8s.sh [--skip-build] [--clean] [--help]
#
#   --skip-build   use the images jobqueue-api, -worker and -reaper as they are
#   --clean        remove the namespace jobqueue and all that is in it, data too, and deploy nothing
#
# Says what it does. Run again, it keeps the secrets and the data.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

BUILD=yes
CLEAN=no
for option in "$@"; do
  case "$option" in
  --skip-build) BUILD=no ;;
  --clean) CLEAN=yes ;;
  -h | --help) usage && exit 0 ;;
  *) printf '%s: unknown option %s; see --help\n' "$(basename "$0")" "$option" >&2 && exit 2 ;;
  esac
done

need kubectl
CONTEXT="$(kubectl config current-context 2>/dev/null)" || fail "kubectl points at no cluster: kind create cluster, or minikube start"
in_namespace() { kubectl --namespace jobqueue "$@"; }

if [ "$CLEAN" = yes ]; then
  kubectl delete namespace jobqueue --ignore-not-found --wait
  say "removed the namespace jobqueue from $CONTEXT"
  exit 0
fi

if [ "$BUILD" = yes ]; then
  need docker
  for role in api worker reaper; do
    say "building jobqueue-$role:local"
    docker build --quiet --file "$ROOT/Dockerfile.$role" --tag "jobqueue-$role:local" "$ROOT" >/dev/null
  done
fi
case "$CONTEXT" in
kind-*)
  need kind
  say "loading the images into ${CONTEXT#kind-}"
  kind load docker-image --name "${CONTEXT#kind-}" jobqueue-api:local jobqueue-worker:local jobqueue-reaper:local
  ;;
minikube)
  need minikube
  for role in api worker reaper; do minikube image load "jobqueue-$role:local"; done
  ;;
*) say "cannot load images into $CONTEXT by itself; it has to find jobqueue-api:local and the others" ;;
esac

kubectl apply -f "$ROOT/k8s/base/namespace.yaml"
if ! in_namespace get secret jobqueue-secret >/dev/null 2>&1; then
  need openssl
  PASSWORD="$(openssl rand -hex 24)"
  DSN="postgresql://jobqueue:$PASSWORD@postgres:5432/jobqueue"
  in_namespace create secret generic jobqueue-secret --from-literal=API_SECRET_KEY="$(openssl rand -hex 32)" \
    --from-literal=POSTGRES_PASSWORD="$PASSWORD" --from-literal=DATABASE_URL="$DSN" --from-literal=JOBQUEUE_DATABASE_DIRECT_URL="$DSN"
fi
in_namespace delete job jobqueue-migrate --ignore-not-found # a Job cannot be changed
kubectl apply -k "$ROOT/k8s/overlays/local"
in_namespace rollout status statefulset/postgres --timeout=300s
in_namespace wait --for=condition=complete job/jobqueue-migrate --timeout=300s
for role in api worker reaper webhook-sender; do in_namespace rollout status "deployment/jobqueue-$role" --timeout=300s; done

if ! in_namespace get secret jobqueue-demo-key >/dev/null 2>&1; then
  in_namespace exec deployment/jobqueue-api -- jobqueue tenants create demo --plan enterprise
  in_namespace create secret generic jobqueue-demo-key --from-literal=api_key="$(in_namespace exec deployment/jobqueue-api -- jobqueue keys create --tenant demo)"
fi
say "deployed to $CONTEXT. To use it:"
say "  kubectl -n jobqueue port-forward service/jobqueue-api-service 8000 &"
say "  export JOBQUEUE_API_KEY=\$(kubectl -n jobqueue get secret jobqueue-demo-key -o 'jsonpath={.data.api_key}' | base64 -d)"
say "  scripts/create-demo-jobs.sh"
