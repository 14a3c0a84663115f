"""A response in parts: a generator's, each sent as soon as it is yielded."""

import time


def handler(event, context):
    """Count, a line at a time."""
    if "requestContext" in event:  # called by its URL: status and headers come first
        yield {"statusCode": 200, "headers": {"content-type": "text/plain; charset=utf-8"}}
    for number in range(1, 6):
        yield f"{number}\n"
        time.sleep(0.5)
