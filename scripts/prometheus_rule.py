"""Write the alerts of deploy/prometheus/rules and the rules of scaling as one object of the Prometheus operator.

    python -m scripts.prometheus_rule

tests/k8s compares the file with what this makes.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
RULES: Final = ROOT / "deploy" / "prometheus" / "rules" / "jobqueue.yml"
TARGET: Final = ROOT / "k8s" / "components" / "monitoring" / "prometheusrule.yaml"
HEAD: Final = """\
# Made by `python -m scripts.prometheus_rule`: the alerts are those of deploy/prometheus/rules, changed there.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: jobqueue
  namespace: jobqueue
  labels:
    app.kubernetes.io/name: jobqueue
    app.kubernetes.io/part-of: jobqueue
spec:
  groups:
    - name: jobqueue-scaling
      interval: 15s
      rules:
        # domain/scaling.py over all tenants and queues: slots = (arrivals + backlog / 60 s) x mean run / 0.8; a worker has 100
        - record: jobqueue:mean_run_seconds
          expr: (sum(rate(job_duration_seconds_sum[5m])) / (sum(rate(job_duration_seconds_count[5m])) > 0)) or vector(1)
        - record: jobqueue:backlog
          expr: sum(max by (tenant_id) (job_queue_depth)) or vector(0)
        - record: jobqueue:desired_workers
          expr: ceil((sum(rate(jobs_submitted_total[1m])) + jobqueue:backlog / 60) * jobqueue:mean_run_seconds / 0.8 / 100)
"""


def render() -> str:
    """The whole file."""
    groups = RULES.read_text("utf-8").split("groups:\n", 1)[1]
    return HEAD + textwrap.indent(groups, "  ")


if __name__ == "__main__":
    TARGET.write_text(render(), "utf-8")
