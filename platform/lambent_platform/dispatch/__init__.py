"""Calls on their way: placed on Redis, answered through the caller's own reply box.

The gateway calls functions for its clients, the scheduler's pollers for queues and streams; both do it with this.
"""
