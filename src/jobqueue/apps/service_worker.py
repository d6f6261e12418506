"""`jobqueue worker` without a database: over HTTP, with a key. Composition only; needs the base install only."""

from jobqueue.apps.program_worker import Worker
from jobqueue.apps.refusals import RoleFailed, StartRefused
from jobqueue.apps.signals import end_with_parent
from jobqueue.apps.worker_setup import load_registry
from jobqueue.config import Settings
from jobqueue.domain.errors import AccessRefused, JobQueueError
from jobqueue.telemetry.logs import configure_logs


def serve(settings: Settings, url: str, api_key: str, *, is_child: bool) -> None:
    """Run jobs until a signal ends it. Raises StartRefused, RoleFailed."""
    configure_logs(settings.log_level, settings.log_format)
    if is_child:
        end_with_parent(grace_s=settings.shutdown_grace_seconds)
    try:
        Worker(url=url, api_key=api_key, handlers=load_registry(settings.handlers)).run_forever()
    except AccessRefused as error:
        raise StartRefused(f"JOBQUEUE_API_KEY: {error}") from error
    except JobQueueError as error:
        raise RoleFailed(f"{error}; check JOBQUEUE_URL, and that the service runs") from error
