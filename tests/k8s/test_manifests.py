"""The manifests of k8s/ are valid, and say what the code does."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest
import yaml

from jobqueue import config
from jobqueue.apps import api, reaper
from jobqueue.apps.api import STOP_MARGIN_S
from jobqueue.apps.metrics_port import machine_app
from jobqueue.domain import scaling
from jobqueue.operations.readiness import OK, Readiness
from jobqueue.reaper import services
from jobqueue.worker.backends import postgres as worker
from scripts import prometheus_rule
from tests.k8s import custom, kustomize

K8S: Final = Path(__file__).parents[2] / "k8s"
KUSTOMIZATIONS: Final = {"all": K8S, "local": K8S / "overlays" / "local", "production": K8S / "overlays" / "production"}
RENDERED: Final = {name: kustomize.render(path) for name, path in KUSTOMIZATIONS.items()}
VERSIONS: Final = ("1.31", "1.37")
"""Of Kubernetes, the oldest and the newest the manifests are held to; preStop.sleep came with 1.30."""
OURS: Final = re.compile(r"jobqueue-(api|worker|reaper)")
SECRET_KEYS: Final = {"API_SECRET_KEY", "POSTGRES_PASSWORD", "DATABASE_URL", "JOBQUEUE_DATABASE_DIRECT_URL"}
SECRETS_FROM_OUTSIDE: Final = {"jobqueue-secret", "jobqueue-postgres-app", "jobqueue-backup", "jobqueue-stats-key", "jobqueue-tls"}
"""docs/operating.md says how each is made."""
OTEL_STANDARD: Final = {"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_SERVICE_NAME"}
WORKER_MARGIN_S: Final = 12.0
"""What a worker takes beyond its shutdown grace to release the rest while the database is away (docs/known_flaws.md)."""
CONNECTIONS: Final = {
    "api": api.CONNECTIONS + 1,  # LISTEN
    "worker": worker.CONNECTIONS + 3,  # LISTEN, heartbeats, probes
    "reaper": services.CONNECTIONS + reaper.DIRECT_CONNECTIONS,
}
SPARE_CONNECTIONS: Final = 20
"""For operators, migrations and the server's own."""
GUIDE: Final = Path(__file__).parents[2] / "docs" / "operating.md"
REAPER_STOP_S: Final = 2.0 * 20
"""Its services end one after the other, within apps.reaper.STOP_S_MAX each."""

Item = dict[str, Any]


@pytest.fixture(params=RENDERED)
def items(request: pytest.FixtureRequest) -> list[Item]:
    return RENDERED[request.param]


def of_kind(items: list[Item], *kinds: str) -> list[Item]:
    return [item for item in items if item["kind"] in kinds]


def pods(items: list[Item]) -> Iterator[tuple[str, Item]]:
    """Name and template of everything that makes pods."""
    for item in of_kind(items, "Deployment", "StatefulSet", "Job"):
        yield item["metadata"]["name"], item["spec"]["template"]


def our_pods(items: list[Item]) -> Iterator[tuple[str, Item, Item]]:
    """Name, pod and container of those that run our images."""
    for name, template in pods(items):
        for container in template["spec"]["containers"]:
            if OURS.match(container["image"]):
                yield name, template["spec"], container


def selects(selector: Item, labels: dict[str, str]) -> bool:
    wanted = selector.get("matchLabels", {}) if {"matchLabels", "matchExpressions"} & set(selector) or not selector else selector
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    for rule in selector.get("matchExpressions", []):
        assert rule["operator"] == "In"
        if labels.get(rule["key"]) not in rule["values"]:
            return False
    return True


def environment(items: list[Item], container: Item) -> dict[str, str]:
    """What a container is told, with workable values where they come from a secret."""
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        (chosen,) = [item for item in of_kind(items, "ConfigMap") if item["metadata"]["name"] == source["configMapRef"]["name"]]
        found |= chosen["data"]
    for entry in container.get("env", []):
        secret = entry.get("valueFrom", {}).get("secretKeyRef")
        if secret is None:
            found[entry["name"]] = entry["value"]
        else:
            assert secret["name"] == "jobqueue-secret"
            assert secret["key"] in SECRET_KEYS
            found[entry["name"]] = "x" * 64 if secret["key"] == "API_SECRET_KEY" else "postgresql://jobqueue:secret@postgres:5432/jobqueue"
    return found


def test_every_listed_file_is_there_and_what_the_kustomizations_read_exists() -> None:
    listed = (
        "namespace configmap secret postgres migration-job api worker reaper dashboard pdb network-policy servicemonitor ingress jaeger"
    )
    assert all((K8S / f"{name}.yaml").is_file() for name in listed.split())
    read = {path.resolve() for path in K8S.rglob("*.yaml")}
    assert not [path for path in read if not list(yaml.safe_load_all(path.read_text()))]


@pytest.mark.parametrize("version", VERSIONS)
def test_core_objects_are_valid_against_the_published_schemas(version: str) -> None:
    distinct = {json.dumps(item, sort_keys=True): item for items in RENDERED.values() for item in items}
    for item in distinct.values():
        if custom.key_of(item) not in custom.SCHEMAS:
            kubernetes_validate.validate(item, version, strict=True)


def test_a_misspelt_core_field_is_found() -> None:
    (item,) = [item for item in RENDERED["all"] if item["metadata"]["name"] == "jobqueue-api" and item["kind"] == "PodDisruptionBudget"]
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**item, "spec": {**item["spec"], "maxUnavailabel": 1}}, VERSIONS[-1], strict=True)


def test_custom_objects_are_valid_against_the_kept_schemas() -> None:
    found = [item for items in RENDERED.values() for item in items if custom.key_of(item) in custom.SCHEMAS]
    assert {custom.key_of(item) for item in found} == set(custom.SCHEMAS)
    assert [fault for item in found for fault in custom.faults(item)] == []


def test_a_misspelt_custom_field_is_found() -> None:
    (item,) = [item for item in RENDERED["production"] if item["kind"] == "ScheduledBackup"]
    assert custom.faults({**item, "spec": {**item["spec"], "shedule": "x"}})
    assert custom.faults({**item, "spec": {**item["spec"], "schedule": 5}})
    assert custom.faults({**item, "spec": {name: value for name, value in item["spec"].items() if name != "schedule"}})


def test_base_and_local_need_no_custom_resources() -> None:
    for name in ("all", "local"):
        assert not [item["kind"] for item in RENDERED[name] if custom.key_of(item) in custom.SCHEMAS]


@pytest.mark.parametrize("name", KUSTOMIZATIONS)
def test_rendered_as_kubectl_does(name: str) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed; the other tests render by themselves")
    said = subprocess.run([kubectl, "kustomize", KUSTOMIZATIONS[name]], capture_output=True, text=True, timeout=60, check=True)

    def by_name(items: Any) -> dict[str, Item]:
        return {f"{item['apiVersion']} {item['kind']} {item['metadata']['name']}": item for item in items}

    assert by_name(yaml.safe_load_all(said.stdout)) == by_name(RENDERED[name])


def test_names_are_the_ones_deployments_rely_on() -> None:
    names = {(item["kind"], item["metadata"]["name"]) for item in RENDERED["all"]}
    assert {
        ("Namespace", "jobqueue"),
        ("ConfigMap", "jobqueue-config"),
        ("Secret", "jobqueue-secret"),
        ("Deployment", "jobqueue-api"),
        ("Service", "jobqueue-api-service"),
        ("Deployment", "jobqueue-worker"),
        ("HorizontalPodAutoscaler", "jobqueue-worker-hpa"),
        ("Deployment", "jobqueue-reaper"),
        ("StatefulSet", "postgres"),
    } <= names
    replicas = {item["metadata"]["name"]: item["spec"]["replicas"] for item in of_kind(RENDERED["all"], "Deployment")}
    assert (replicas["jobqueue-api"], replicas["jobqueue-worker"], replicas["jobqueue-reaper"]) == (3, 3, 2)
    ranges = {
        item["metadata"]["name"]: (item["spec"]["minReplicas"], item["spec"]["maxReplicas"])
        for item in of_kind(RENDERED["all"], "HorizontalPodAutoscaler")
    }
    assert ranges == {"jobqueue-api-hpa": (2, 10), "jobqueue-worker-hpa": (2, 20)}


def test_every_object_is_in_the_namespace_and_says_what_it_belongs_to(items: list[Item]) -> None:
    for item in items:
        if item["kind"] != "Namespace":
            assert item["metadata"]["namespace"] == "jobqueue", item["metadata"]
        if item["kind"] != "NetworkPolicy":
            assert "app.kubernetes.io/name" in item["metadata"]["labels"], item["metadata"]


def test_every_variable_is_one_of_the_settings_and_its_value_is_taken(items: list[Item]) -> None:
    known = {name for field in config.Settings.model_fields for name in config._names(field)} | OTEL_STANDARD
    seen = 0
    for name, _, container in our_pods(items):
        told = environment(items, container)
        assert set(told) <= known, f"{name}: {set(told) - known}"
        config.load(told, needs=["database_url", *(["api_secret_keys"] if container["name"] == "api" else [])])
        seen += 1
    assert seen == 6


def test_only_the_api_and_the_webhook_sender_know_the_signing_key(items: list[Item]) -> None:
    knowing = [name for name, _, container in our_pods(items) if "API_SECRET_KEY" in environment(items, container)]
    assert knowing == ["jobqueue-api", "jobqueue-webhook-sender"]


def test_the_secret_is_a_template_nothing_starts_with() -> None:
    (secret,) = of_kind(RENDERED["all"], "Secret")
    assert set(secret["stringData"]) == SECRET_KEYS
    with pytest.raises(config.ConfigurationError, match="API_SECRET_KEY"):
        config.load({name: value for name, value in secret["stringData"].items() if name != "POSTGRES_PASSWORD"})
    for name in ("local", "production"):
        assert not of_kind(RENDERED[name], "Secret")


def test_roles_run_the_command_of_their_name_from_the_image_of_their_name(items: list[Item]) -> None:
    for _, _, container in our_pods(items):
        image = container["image"].split(":")[0]
        assert container["command"][0] == "jobqueue"
        assert container["command"][1] == ("migrate" if container["name"] == "migrate" else image.removeprefix("jobqueue-"))


async def test_every_probe_asks_a_port_that_is_there_for_a_path_that_answers(items: list[Item]) -> None:
    async def ready() -> Readiness:
        return Readiness({"database": OK}, {})

    app = machine_app(ready, lambda: b"")
    seen = 0
    for name, _, container in our_pods(items):
        if container["name"] == "migrate":
            continue
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert ports["metrics"] == int(environment(items, container)["JOBQUEUE_METRICS_PORT"])
        if container["name"] == "api":
            assert container["command"][container["command"].index("--port") + 1] == str(ports["http"])
            assert container["command"][container["command"].index("--host") + 1] == "0.0.0.0"
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            asked = container[kind]["httpGet"]
            assert asked["port"] == "metrics", name
            assert await answer(app, asked["path"]) == 200
            seen += 1
        assert container["livenessProbe"]["httpGet"]["path"] == "/healthz/live"
        assert container["readinessProbe"]["httpGet"]["path"] == "/healthz/ready"
    assert seen == 15
    assert await answer(app, "/healthz/lively") == 404


async def answer(app: Any, path: str) -> int:
    """The status of a GET."""
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app({"type": "http", "method": "GET", "path": path, "query_string": b""}, None, send)
    return int(sent[0]["status"])


def test_the_grace_of_a_pod_covers_its_drain(items: list[Item]) -> None:
    margins = {"api": STOP_MARGIN_S, "worker": WORKER_MARGIN_S}
    for name, pod, container in our_pods(items):
        if container["name"] == "migrate":
            continue
        pause_s = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        assert (pause_s >= 5) == (container["name"] == "api"), "only who is spoken to waits until nobody does"
        grace_s = float(environment(items, container)["JOBQUEUE_SHUTDOWN_GRACE_SECONDS"])
        needed_s = REAPER_STOP_S if container["name"] == "reaper" else pause_s + grace_s + margins[container["name"]]
        assert pod["terminationGracePeriodSeconds"] >= needed_s + 5, name


def test_pods_are_restricted_and_hold_no_rights(items: list[Item]) -> None:
    accounts = {item["metadata"]["name"]: item for item in of_kind(items, "ServiceAccount")}
    for name, template in pods(items):
        pod = template["spec"]
        assert pod["automountServiceAccountToken"] is False, name
        assert accounts[pod["serviceAccountName"]]["automountServiceAccountToken"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert container["resources"]["requests"].keys() >= {"cpu", "memory"}, name
            assert "memory" in container["resources"]["limits"], name
    assert not of_kind(items, "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
    assert all(pod["securityContext"]["runAsUser"] == 1000 for _, pod, _ in our_pods(items))
    (namespace,) = of_kind(items, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_volumes_and_mounts_match_and_what_they_name_exists(items: list[Item]) -> None:
    config_maps = {item["metadata"]["name"] for item in of_kind(items, "ConfigMap")}
    claims = {
        item["metadata"]["name"]: {claim["metadata"]["name"] for claim in item["spec"].get("volumeClaimTemplates", [])}
        for item in of_kind(items, "StatefulSet")
    }
    for name, template in pods(items):
        pod = template["spec"]
        volumes = {volume["name"] for volume in pod.get("volumes", [])} | claims.get(name, set())
        mounts = {mount["name"] for container in pod["containers"] for mount in container.get("volumeMounts", [])}
        assert mounts == volumes, name
        assert {volume["configMap"]["name"] for volume in pod.get("volumes", []) if "configMap" in volume} <= config_maps
        assert any(mount["mountPath"] == "/tmp" for container in pod["containers"] for mount in container["volumeMounts"]), name


def test_selectors_find_exactly_their_pods(items: list[Item]) -> None:
    labels = {name: template["metadata"]["labels"] for name, template in pods(items)}
    for item in of_kind(items, "Deployment", "StatefulSet"):
        found = [name for name, of_pod in labels.items() if selects(item["spec"]["selector"], of_pod)]
        assert found == [item["metadata"]["name"]]
    for item in of_kind(items, "PodDisruptionBudget"):
        assert [name for name, of_pod in labels.items() if selects(item["spec"]["selector"], of_pod)] == [item["metadata"]["name"]]
        assert item["spec"]["maxUnavailable"] == 1
    for item in of_kind(items, "Service"):
        found = [template for _, template in pods(items) if selects(item["spec"]["selector"], template["metadata"]["labels"])]
        assert len(found) == 1, item["metadata"]["name"]
        ports = {port["name"] for container in found[0]["spec"]["containers"] for port in container["ports"]}
        assert {port["targetPort"] for port in item["spec"]["ports"]} <= ports
    for item in of_kind(items, "PodMonitor", "NetworkPolicy"):
        selector = item["spec"].get("selector") or item["spec"].get("podSelector")
        if selector and "cnpg.io/cluster" not in selector.get("matchLabels", {}):
            assert [name for name, of_pod in labels.items() if selects(selector, of_pod)], item["metadata"]["name"]


def test_scalers_monitors_and_ingresses_name_what_exists(items: list[Item]) -> None:
    deployments = {item["metadata"]["name"] for item in of_kind(items, "Deployment")}
    services = {item["metadata"]["name"]: item for item in of_kind(items, "Service")}
    scaled = [item["spec"]["scaleTargetRef"]["name"] for item in of_kind(items, "HorizontalPodAutoscaler", "ScaledObject")]
    assert set(scaled) <= deployments
    assert len(scaled) == len(set(scaled)), "two scalers would fight over one deployment"
    for item in of_kind(items, "Ingress"):
        backend = item["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
        assert backend["port"]["name"] in {port["name"] for port in services[backend["name"]]["spec"]["ports"]}
        assert item["spec"]["tls"][0]["hosts"] == [rule["host"] for rule in item["spec"]["rules"]]
    for item in of_kind(items, "ServiceMonitor"):
        found = [service for service in services.values() if selects(item["spec"]["selector"], service["metadata"]["labels"])]
        assert [port["name"] for service in found for port in service["spec"]["ports"]] == ["metrics"]


def test_traces_go_to_a_port_that_is_there(items: list[Item]) -> None:
    (told,) = {item["data"]["OTEL_EXPORTER_OTLP_ENDPOINT"] for item in of_kind(items, "ConfigMap") if "OTEL_SERVICE_NAME" in item["data"]}
    (jaeger,) = [item for item in of_kind(items, "Service") if item["metadata"]["name"] == "jaeger"]
    assert told in {f"http://jaeger:{port['port']}" for port in jaeger["spec"]["ports"] if port["name"] == "otlp-http"}
    (roles,) = [item["spec"] for item in of_kind(items, "NetworkPolicy") if item["metadata"]["name"] == "jobqueue-roles"]
    assert int(told.rpartition(":")[2]) in {port["port"] for rule in roles["egress"] for port in rule["ports"]}


def test_secrets_that_are_named_are_in_the_guide(items: list[Item]) -> None:
    def names(value: Any) -> Iterator[str]:
        if isinstance(value, list):
            for entry in value:
                yield from names(entry)
        elif isinstance(value, dict):
            for key, inner in value.items():
                if key in ("secretKeyRef", "secret", "accessKeyId", "secretAccessKey"):
                    yield inner["name"]
                elif key == "secretTargetRef":
                    yield from (entry["name"] for entry in inner)
                elif key == "secretName":
                    yield inner
                else:
                    yield from names(inner)

    assert set(names(items)) <= SECRETS_FROM_OUTSIDE


def test_a_role_reaches_the_database_the_traces_and_nothing_private_for_a_tenant(items: list[Item]) -> None:
    policies = {item["metadata"]["name"]: item["spec"] for item in of_kind(items, "NetworkPolicy")}
    assert policies["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name, template in pods(items):
        if not name.startswith("jobqueue-"):
            continue
        labels = template["metadata"]["labels"]
        assert selects(policies["jobqueue-roles"]["podSelector"], labels), name
        if name != "jobqueue-migrate":
            assert selects(policies["jobqueue-metrics"]["podSelector"], labels), name
        reaches_the_internet = "worker" in name or "sender" in name
        assert selects(policies["jobqueue-public-egress"]["podSelector"], labels) == reaches_the_internet, name
    (block,) = [rule["ipBlock"] for rule in policies["jobqueue-public-egress"]["egress"][0]["to"]]
    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10", "127.0.0.0/8"} <= set(block["except"])


def test_the_recorded_number_of_workers_is_the_products_own_formula() -> None:
    (rules,) = of_kind(RENDERED["production"], "PrometheusRule")
    said = {rule["record"]: rule["expr"] for group in rules["spec"]["groups"] for rule in group["rules"] if "record" in rule}
    (concurrency,) = [item["data"]["JOBQUEUE_WORKER_CONCURRENCY"] for item in of_kind(RENDERED["production"], "ConfigMap")]
    formula = said["jobqueue:desired_workers"]
    assert f"jobqueue:backlog / {scaling.BACKLOG_S:g})" in formula
    assert formula.endswith(f"* jobqueue:mean_run_seconds / {scaling.UTILISATION:g} / {concurrency})")
    assert f"vector({scaling.DURATION_S_DEFAULT:g})" in said["jobqueue:mean_run_seconds"]


def test_the_operators_alerts_are_those_of_the_rules_file() -> None:
    assert prometheus_rule.TARGET.read_text("utf-8") == prometheus_rule.render(), "run python -m scripts.prometheus_rule"
    (rules,) = of_kind(RENDERED["production"], "PrometheusRule")
    assert rules["spec"]["groups"][1:] == yaml.safe_load(prometheus_rule.RULES.read_text())["groups"]


def test_the_server_has_connections_for_every_role_at_its_most(items: list[Item]) -> None:
    most = {item["spec"]["scaleTargetRef"]["name"]: item["spec"]["maxReplicas"] for item in of_kind(items, "HorizontalPodAutoscaler")}
    most |= {item["spec"]["scaleTargetRef"]["name"]: item["spec"]["maxReplicaCount"] for item in of_kind(items, "ScaledObject")}
    needed = sum(
        CONNECTIONS[item["spec"]["template"]["spec"]["containers"][0]["name"]]
        * most.get(item["metadata"]["name"], item["spec"]["replicas"])
        for item in of_kind(items, "Deployment")
        if item["metadata"]["name"] != "jaeger"
    )
    for item in of_kind(items, "Cluster"):
        assert int(item["spec"]["postgresql"]["parameters"]["max_connections"]) >= needed + SPARE_CONNECTIONS, needed
    for item in of_kind(items, "StatefulSet"):
        (said,) = [word for word in item["spec"]["template"]["spec"]["containers"][0]["args"] if word.startswith("max_connections=")]
        assert int(said.split("=")[1]) >= needed + SPARE_CONNECTIONS, needed


def test_the_guide_has_the_connections_of_each_role() -> None:
    page = GUIDE.read_text()
    for role, count in CONNECTIONS.items():
        assert f"| {role} | {count} |" in page
