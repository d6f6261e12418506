"""Wire shapes: what requests and answers look like on the line, for the API and the client; no server imports."""
