"""Works on orders, in batches. Those that cannot be done are reported, and only they come back."""

import json


def handler(event, context):
    failed = []
    for record in event["Records"]:
        order = json.loads(record["body"])
        attempt = record["attributes"]["ApproximateReceiveCount"]
        try:
            ship(order)
        except ValueError as error:
            print(f"order {order['id']} failed, attempt {attempt}: {error}")
            failed.append({"itemIdentifier": record["messageId"]})
        else:
            print(f"order {order['id']} shipped: {order['item']}")
    return {"batchItemFailures": failed}


def ship(order):
    if order["item"] == "unobtainium":
        raise ValueError("there is none")
