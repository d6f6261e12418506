"""The HTTP door: credentials, wire shapes in and out, problems; every decision is made by the operations below."""
