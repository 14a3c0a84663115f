"""A function that greets."""


def handler(event, context):
    """Return a greeting for the `name` in the event."""
    print(f"request {context.aws_request_id}: {event}")
    return {"greeting": f"Hello, {event.get('name', 'world')}!"}
