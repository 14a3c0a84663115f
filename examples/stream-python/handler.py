"""Server-sent events from a generator: a browser's `EventSource` shows each line when it is made."""

import json
import time

TEXT = "A generator says what it has, and goes on when its reader has room for more."


def handler(event, context):
    """Say a text, a word at a time."""
    web = "requestContext" in event
    asked = event.get("queryStringParameters", {}) if web else event
    pause_s = min(float(asked.get("pause_s", 0.1)), 1.0)
    if web:
        headers = {"content-type": "text/event-stream", "cache-control": "no-cache"}
        yield {"statusCode": 200, "headers": headers}
    for number, word in enumerate(asked.get("text", TEXT).split()):
        yield f"data: {json.dumps({'number': number, 'word': word})}\n\n" if web else f"{word} "
        time.sleep(pause_s)
    print("said all of it")
