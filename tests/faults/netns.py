"""Network namespaces for workers, whose link to the database can be taken down: a partition as the kernel knows it. Linux, as root.

Nobody sends anything when the link goes: connections just stop answering, and time out by the kernel's and our own deadlines.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass


class NoNamespaces(Exception):
    """This machine does not allow it; the message says why."""


@dataclass(frozen=True)
class Link:
    """One namespace with one link to the host. host: the host's address on it; prefix: what to start a program in it with."""

    namespace: str
    device: str
    host: str

    @property
    def prefix(self) -> tuple[str, ...]:
        """The command that runs another one inside."""
        return ("ip", "netns", "exec", self.namespace)

    def cut(self) -> None:
        """Take the link down."""
        _ip("link", "set", self.device, "down")

    def heal(self) -> None:
        """Bring it up again."""
        _ip("link", "set", self.device, "up")


@contextlib.contextmanager
def linked(count: int) -> Iterator[list[Link]]:
    """Have so many namespaces while the block runs. Raises NoNamespaces."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        raise NoNamespaces("network namespaces need root and the program `ip`")
    name = f"jq{secrets.token_hex(2)}"
    with contextlib.ExitStack() as stack:
        links = []
        for number in range(count):
            namespace, device, net = f"{name}n{number}", f"{name}h{number}", f"10.213.{number}"
            _ip("netns", "add", namespace)
            stack.callback(_ip, "netns", "del", namespace)
            _ip("link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", namespace)
            _ip("addr", "add", f"{net}.1/30", "dev", device)
            _ip("link", "set", device, "up")
            _ip("-n", namespace, "addr", "add", f"{net}.2/30", "dev", "eth0")
            _ip("-n", namespace, "link", "set", "eth0", "up")
            _ip("-n", namespace, "link", "set", "lo", "up")
            links.append(Link(namespace, device, f"{net}.1"))
        yield links


def _ip(*arguments: str) -> None:
    done = subprocess.run(("ip", *arguments), capture_output=True, text=True, timeout=20, check=False)
    if done.returncode:
        raise NoNamespaces(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
