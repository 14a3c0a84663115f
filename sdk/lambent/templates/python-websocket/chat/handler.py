"""Answers on a WebSocket: `{"action": "say", "text": …}` comes back in capitals."""

import json
import os
import urllib.request


def handler(event, context):
    request = event["requestContext"]
    route, connection = request["routeKey"], request["connectionId"]
    if route == "say":
        text = json.loads(event["body"])["text"]
        post(request, connection, {"said": text.upper()})
    elif route == "$default":
        post(request, connection, {"error": 'send {"action": "say", "text": "…"}'})
    else:
        print(f"{connection} {request['eventType'].lower()}")
    return {"statusCode": 200}


def post(request, connection, message):
    """What `post_to_connection` of boto3's `apigatewaymanagementapi` does."""
    url = f"{os.environ['AWS_ENDPOINT_URL']}/_api/{request['apiId']}/{request['stage']}/@connections/{connection}"
    sent = urllib.request.Request(url, data=json.dumps(message).encode(), method="POST")
    urllib.request.urlopen(sent, timeout=5).close()
