"""Loops that read state, ask `core`, and commit: capacity, retries, leases, preparation."""
