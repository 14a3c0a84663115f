"""Sandbox drivers: one port, two real implementations, one conformance suite."""
