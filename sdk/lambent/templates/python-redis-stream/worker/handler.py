"""Reads a Redis stream: each record has the fields that its producer gave to XADD.

Where a batch fails it is halved and tried again, until what fails stands alone; that goes to the dead-letter stream.
"""


def handler(event, context):
    for record in event["Records"]:
        entry = record["redis"]
        print(f"{entry['sequenceNumber']}: {entry['fields']}")
        if entry["fields"].get("fail"):
            raise ValueError(f"{entry['sequenceNumber']} cannot be done")
