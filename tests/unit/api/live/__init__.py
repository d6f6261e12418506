"""Live streams without a server."""
