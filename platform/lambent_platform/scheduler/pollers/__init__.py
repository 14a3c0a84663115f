"""What polls queues and streams and calls functions with what it finds. Only the leading scheduler does.

`MappingSupervisor` derives one task a mapping from what is stored, at the start and whenever something is written,
and keeps each running by itself: what one of them meets is never another's trouble.

To add a kind of source:

1. `core/mapping_sources.py`: a `SourceRules` with a `kind` of its own, in `SOURCES`.
2. `gateway/lambda_api/mapping_sources.py`: a `SourceCheck`, wired by that kind, where something must exist before a
   mapping is made.
3. here: a `PollerKind` (`port.py`), whose `poll(assignment)` lasts while its mapping is enabled; wired by that kind in
   `main/pollers.py`. It calls functions through the scheduler's own `Dispatcher`, and counts in `PollerMetrics`.
"""
