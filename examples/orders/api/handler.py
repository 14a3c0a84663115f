"""POST /orders takes an order and puts it into the queue; GET /orders/{id} says where it would be looked up."""

import base64
import json
import os
import urllib.request
import uuid


def handler(event, context):
    if event["routeKey"] == "POST /orders":
        return place(event)
    return answer(200, {"id": event["pathParameters"]["id"], "stage": os.environ["STAGE"]})


def place(event):
    body = event.get("body") or ""
    if event.get("isBase64Encoded"):
        body = base64.b64decode(body)
    try:
        order = json.loads(body)
        item = order["item"]
    except (ValueError, TypeError, KeyError):
        return answer(400, {"error": "an order is a JSON object with an item"})
    order = {"item": item}
    order["id"] = str(uuid.uuid4())
    send(order)
    return answer(202, {"id": order["id"]})


def send(order):
    """SQS's SendMessage, without a library; `boto3.client("sqs").send_message(…)` does the same."""
    body = json.dumps({"QueueUrl": os.environ["QUEUE_URL"], "MessageBody": json.dumps(order)})
    request = urllib.request.Request(
        os.environ["AWS_ENDPOINT_URL"],
        data=body.encode(),
        headers={"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS.SendMessage"},
    )
    urllib.request.urlopen(request, timeout=5).close()


def answer(status, content):
    return {"statusCode": status, "headers": {"content-type": "application/json"}, "body": json.dumps(content)}
