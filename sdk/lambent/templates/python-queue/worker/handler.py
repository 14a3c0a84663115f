"""Works on jobs from a queue: `{"job": …}`; one with `"fail": true` fails, and only that one comes back."""

import json


def handler(event, context):
    failed = []
    for record in event["Records"]:
        try:
            work(json.loads(record["body"]))
        except Exception as error:
            print(f"{record['messageId']} failed: {error}")
            failed.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failed}


def work(job):
    if job.get("fail"):
        raise ValueError(f"job {job['job']} cannot be done")
    print(f"job {job['job']} is done")
