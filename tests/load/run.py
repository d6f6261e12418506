"""Put load on a service for a while and judge it: on JOBQUEUE_URL with JOBQUEUE_API_KEY where both are set, else on a `jobqueue dev` of its
own.

python -m tests.load.run --users 50 --seconds 60 --out build/load [JobSchedulerUser BurstSubmissionUser IdempotencyTestUser]
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from tests.programs import running_dev, temporary_directory

ROOT = Path(__file__).parents[2]
LOCUSTFILE = Path("tests/load/locustfile.py")


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--users", type=int, default=40)
    arguments.add_argument("--spawn-rate", type=float, default=10, help="users started a second")
    arguments.add_argument("--seconds", type=int, default=60)
    arguments.add_argument("--out", type=Path, default=Path("build/load"), help="where report.html and report.png go")
    arguments.add_argument("classes", nargs="*", help="the users; all three without")
    chosen = arguments.parse_args()
    url, api_key = os.environ.get("JOBQUEUE_URL"), os.environ.get("JOBQUEUE_API_KEY")
    if url and api_key:
        return put_load(url, api_key, chosen)
    with temporary_directory() as directory, running_dev(directory) as dev:
        return put_load(dev.url, dev.api_key, chosen)


def put_load(url: str, api_key: str, chosen: argparse.Namespace) -> int:
    """Run locust; answers its exit code."""
    command = [
        *(sys.executable, "-m", "locust", "--locustfile", str(LOCUSTFILE), "--headless", "--only-summary", "--host", url),
        *("--users", str(chosen.users), "--spawn-rate", str(chosen.spawn_rate), "--run-time", f"{chosen.seconds}s", *chosen.classes),
    ]
    environment = {**os.environ, "JOBQUEUE_API_KEY": api_key, "LOAD_REPORT_DIR": str(chosen.out)}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
