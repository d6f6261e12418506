"""Ask the role in this container whether it is ready: exit 0 when it is, 1 when not. The images' HEALTHCHECK; standard library only, so
that asking every few seconds costs little.

    python healthy.py             # on the metrics port, JOBQUEUE_METRICS_PORT
    python healthy.py 8000        # on another port
"""

import os
import socket
import sys

ANSWER_S_MAX = 3.0
REQUEST = b"GET /healthz/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def is_ready(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S_MAX) as connection:
            connection.sendall(REQUEST)
            return connection.recv(64).split(b" ")[1:2] == [b"200"]
    except OSError:
        return False


if __name__ == "__main__":
    port = int(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("JOBQUEUE_METRICS_PORT") or 9090)
    sys.exit(0 if is_ready(port) else 1)
