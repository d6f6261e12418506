"""The `jobqueue` command: parses arguments, calls an app or the client, prints."""
