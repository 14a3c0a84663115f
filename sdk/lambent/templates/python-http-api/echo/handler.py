"""POST /echo"""

import base64


def handler(event, context):
    body = event.get("body") or ""
    if event.get("isBase64Encoded"):
        body = base64.b64decode(body).decode()
    return {"statusCode": 200, "headers": {"content-type": "text/plain; charset=utf-8"}, "body": body}
