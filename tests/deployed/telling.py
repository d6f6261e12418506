"""What the programs here say."""

import sys


def say(text: str) -> None:
    """Write a line at once: runs take minutes."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
