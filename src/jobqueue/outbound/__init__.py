"""Requests to the world on a tenant's behalf: guarded, since the address is the tenant's word."""
