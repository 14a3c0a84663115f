"""Writes a report; its schedules say which in their input."""


def handler(event, context):
    print(f"the {event['report']} report is written")
    return {"report": event["report"]}
