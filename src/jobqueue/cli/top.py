"""`jobqueue top`: the whole queue on one screen. top_reading.py asks, top_screen.py draws; here is the loop."""

import contextlib
import time
from typing import Annotated, Any, Final

import typer

from jobqueue.cli.connection import URL_DEFAULT, ApiKey, AsJson, Url, connected, explain
from jobqueue.cli.looks import screen
from jobqueue.cli.output import say_json
from jobqueue.cli.top_reading import Reader, Reading
from jobqueue.domain.errors import JobQueueError, LimitReached, Unavailable

INTERVAL_DEFAULT_S: Final = 2.0
"""60 requests a minute for what is read each time, of the 100 a tenant has unless it has more."""

PATIENCE: Final = 2.0
"""How much rarer it asks after a refusal."""


def top(
    interval: Annotated[float, typer.Option(min=0.2, max=60, metavar="SECONDS", help="How often to look.")] = INTERVAL_DEFAULT_S,
    once: Annotated[bool, typer.Option("--once", help="Print it once; so it is where there is no terminal.")] = False,
    is_json: AsJson = False,
    url: Url = URL_DEFAULT,
    api_key: ApiKey = None,
) -> None:
    """Watch the queue on a full screen: throughput, depth, oldest age, workers, failing types. Ctrl-C ends it."""
    with connected(url, api_key, retry_for_s=0) as client:
        reader = Reader(client, now_s=time.monotonic)
        if is_json:
            say_json(reader.read().as_json())
        elif once or not screen().is_terminal:
            from jobqueue.cli.top_screen import draw

            screen().print(draw(reader.read(), url=url, width=screen().width, height=0))
        else:
            with contextlib.suppress(KeyboardInterrupt):
                _watch(reader, url, interval)


def _watch(reader: Reader, url: str, interval_s: float) -> None:
    from rich.live import Live

    from jobqueue.cli.top_screen import draw

    reading: Reading = reader.read()  # an error here ends the command: nothing was shown yet
    wait_s = interval_s
    with Live(console=screen(), screen=True, auto_refresh=False) as live:
        while True:
            live.update(draw(reading, url=url, width=screen().width, height=screen().height), refresh=True)
            time.sleep(wait_s)
            try:
                reading = reader.read()
                wait_s = interval_s
            except LimitReached as error:
                wait_s = max(wait_s * PATIENCE, float(getattr(error, "retry_after_s", 0)))
                reading.trouble = f"the tenant's requests per minute are used up; looking again in {wait_s:.0f} s"
            except Unavailable as error:
                reading.trouble = _words(error, url)


def _words(error: JobQueueError, url: str) -> Any:
    return str(explain(error, url))
