"""Live streams: the hub that hands events to them, and the two ways out, WebSocket and server-sent events."""
