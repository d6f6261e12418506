"""What ends a command before its work is done, with the one line its user gets."""


class StartRefused(Exception):
    """The command was used or set up wrongly; the message is one line that says what to change. Exit code 2."""


class RoleFailed(Exception):
    """The work itself failed; the message is one line that says what happened. Exit code 1."""


class ChildRefused(Exception):
    """A child process refused to start and has said why itself. Exit code 2."""
