"""Decisions and state machines. Pure: a snapshot in, a decision out."""
