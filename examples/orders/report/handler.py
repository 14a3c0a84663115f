"""Says each night how many orders failed for good."""

import json
import os
import urllib.request


def handler(event, context):
    body = {"QueueUrl": os.environ["FAILED_URL"], "AttributeNames": ["ApproximateNumberOfMessages"]}
    request = urllib.request.Request(
        os.environ["AWS_ENDPOINT_URL"],
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS.GetQueueAttributes"},
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        failed = json.load(answer)["Attributes"]["ApproximateNumberOfMessages"]
    print(f"{failed} orders failed for good")
    return {"failed": int(failed)}
