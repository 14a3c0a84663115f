"""Where results may go, and whether a function may be part of a loop: as settings, over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from lambent_platform.contracts.queues import QueueRecord
from lambent_platform.store.queues import QueueStore
from lambent_platform.store.redis import open_redis

FN = "arn:aws:lambda:us-east-1:000000000000:function"
SQS = "arn:aws:sqs:us-east-1:000000000000"


def refused(call: Callable[[], Any]) -> tuple[str, str]:
    """Make a call that must fail, and return code and message."""
    with pytest.raises(ClientError) as raised:
        call()
    error = raised.value.response["Error"]
    return error["Code"], error["Message"]


@pytest.fixture
def client(lambda_api: Any, redis_url: str) -> Any:
    """A client of a gateway with the functions f and g, and the queues q and q.fifo."""

    async def make_queues() -> None:
        async with open_redis(redis_url) as redis:
            for name, attributes in (("q", {}), ("q.fifo", {"FifoQueue": "true"})):
                record = QueueRecord(account="000000000000", region="us-east-1", name=name, attributes=attributes)
                assert await QueueStore(redis).create(record) is not None

    asyncio.run(make_queues())
    lambda_api.create("f", Publish=True)
    lambda_api.create("g")
    return lambda_api.client


@pytest.mark.parametrize("destination", [f"{SQS}:q", f"{FN}:g", f"{FN}:g:$LATEST"])
@pytest.mark.parametrize("side", ["OnSuccess", "OnFailure"])
def test_queues_and_functions_are_destinations(client: Any, destination: str, side: str) -> None:
    """A standard queue and another function, also qualified, can be told."""
    config = {side: {"Destination": destination}}
    put = client.put_function_event_invoke_config(FunctionName="f", DestinationConfig=config)
    assert put["DestinationConfig"][side] == {"Destination": destination}


@pytest.mark.parametrize(
    ("destination", "text"),
    [
        (f"{SQS}:none", f"The destination ARN {SQS}:none is invalid."),
        (f"{SQS}:q.fifo", f"The destination ARN {SQS}:q.fifo is invalid: a destination must be a standard queue."),
        (f"{FN}:none", f"The destination ARN {FN}:none is invalid."),
        (f"{FN}:g:none", f"The destination ARN {FN}:g:none is invalid."),
        (f"{FN}:f", "You can't specify the function as a destination for itself."),
        (f"{FN}:f:1", "You can't specify the function as a destination for itself."),
        ("arn:aws:sns:us-east-1:000000000000:t", "The destination arn:aws:sns:us-east-1:000000000000:t is not served"),
        ("arn:aws:s3:::bucket", "The destination arn:aws:s3:::bucket is not served: buckets are not"),
        ("arn:aws:iam:us-east-1:000000000000:x", "The provided destination config DestinationConfig(onSuccess=OnSucc"),
        ("arn:aws:lambda:us-east-1:000000000000:layer:l", "The provided destination config DestinationConfig("),
    ],
)
def test_what_cannot_be_a_destination(client: Any, destination: str, text: str) -> None:
    """A destination that an event cannot be sent to is refused when it is set, not when the event is lost."""
    for side in ("OnSuccess", "OnFailure"):
        config = {side: {"Destination": destination}}
        for put in (client.put_function_event_invoke_config, client.update_function_event_invoke_config):
            code, message = refused(lambda put=put, config=config: put(FunctionName="f", DestinationConfig=config))
            assert code == "InvalidParameterValueException"
            assert message.startswith(text.replace("onSuccess=OnSucc", "onSuccess=")[:60])


def test_a_dead_letter_queue_is_set_and_taken_away(lambda_api: Any, client: Any) -> None:
    """It is given at the creation or later, shown, published with a version, and taken away by an empty ARN."""
    made = lambda_api.create("h", DeadLetterConfig={"TargetArn": f"{SQS}:q"})
    assert made["DeadLetterConfig"] == {"TargetArn": f"{SQS}:q"}
    shown = client.update_function_configuration(FunctionName="f", DeadLetterConfig={"TargetArn": f"{SQS}:q"})
    assert shown["DeadLetterConfig"] == {"TargetArn": f"{SQS}:q"}
    lambda_api.wait("function_updated_v2", "f")
    shown = client.update_function_configuration(FunctionName="f", Description="other")
    assert shown["DeadLetterConfig"] == {"TargetArn": f"{SQS}:q"}
    lambda_api.wait("function_updated_v2", "f")
    assert "DeadLetterConfig" in client.publish_version(FunctionName="f")
    shown = client.update_function_configuration(FunctionName="f", DeadLetterConfig={"TargetArn": ""})
    assert "DeadLetterConfig" not in shown


@pytest.mark.parametrize(
    ("arn", "text"),
    [
        (f"{SQS}:none", f"The dead letter target {SQS}:none is invalid: the queue does not exist."),
        (f"{SQS}:q.fifo", f"The dead letter target {SQS}:q.fifo is invalid: it must be a standard queue"),
        (
            "arn:aws:sns:us-east-1:000000000000:t",
            "The dead letter target arn:aws:sns:us-east-1:000000000000:t is not s",
        ),
        (f"{FN}:g", f"Unsupported dead letter target {FN}:g: it must be the ARN of an SQS queue."),
    ],
)
def test_what_cannot_be_a_dead_letter_queue(lambda_api: Any, client: Any, arn: str, text: str) -> None:
    """Topics, FIFO queues and queues that are not there are refused, and nothing is changed."""
    for call in (
        lambda: lambda_api.create("h", DeadLetterConfig={"TargetArn": arn}),
        lambda: client.update_function_configuration(FunctionName="f", DeadLetterConfig={"TargetArn": arn}),
    ):
        code, message = refused(call)
        assert code == "InvalidParameterValueException"
        assert message.startswith(text)
    assert [one["FunctionName"] for one in client.list_functions()["Functions"]] == ["f", "g"]
    assert "DeadLetterConfig" not in client.get_function_configuration(FunctionName="f")


def test_recursion_config(client: Any) -> None:
    """A function is stopped in a loop unless it is allowed; the setting is the function's, and stays with it."""
    get, put = client.get_function_recursion_config, client.put_function_recursion_config
    assert get(FunctionName="f")["RecursiveLoop"] == "Terminate"
    assert put(FunctionName="f", RecursiveLoop="Allow")["RecursiveLoop"] == "Allow"
    client.update_function_configuration(FunctionName="f", Description="other")
    assert get(FunctionName=f"{FN}:f")["RecursiveLoop"] == "Allow"
    assert get(FunctionName="g")["RecursiveLoop"] == "Terminate"
    assert put(FunctionName="f", RecursiveLoop="Terminate")["RecursiveLoop"] == "Terminate"
    assert get(FunctionName="f")["RecursiveLoop"] == "Terminate"


def test_recursion_config_of_nothing(client: Any) -> None:
    """What the model does not take, and a function that is not there, are refused as Lambda does."""
    put = client.put_function_recursion_config
    code, message = refused(lambda: put(FunctionName="f", RecursiveLoop="Perhaps"))
    assert code == "ValidationException"
    assert "Member must satisfy enum value set: [" in message
    missing = ("ResourceNotFoundException", f"Function not found: {FN}:none")
    assert refused(lambda: put(FunctionName="none", RecursiveLoop="Allow")) == missing
    assert refused(lambda: client.get_function_recursion_config(FunctionName="none")) == missing
    assert refused(lambda: put(FunctionName="f:1", RecursiveLoop="Allow"))[0] == "ValidationException"
