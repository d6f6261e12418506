"""The SDK over HTTP; ships without the server."""
