"""A small web endpoint."""

import json


def handler(event, context):
    """Answer any request with what it was."""
    http = event["requestContext"]["http"]
    return {
        "statusCode": 200,
        "headers": {"content-type": "application/json"},
        "body": json.dumps(
            {
                "method": http["method"],
                "path": event["rawPath"],
                "query": event.get("queryStringParameters", {}),
                "body": event.get("body"),
            }
        ),
    }
