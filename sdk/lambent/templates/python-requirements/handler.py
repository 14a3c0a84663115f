"""A function that uses a package from PyPI."""

import humanize


def handler(event, context):
    """Say the `bytes` of the event as a person would."""
    return {"size": humanize.naturalsize(event.get("bytes", 123_456_789))}
