"""Operations on messages, with boto3 as the client, which checks the MD5 of each body itself."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from typing import Any

import pytest

from .conftest import START_MS, QueueApi

TRACE = {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-5759e988-bd862e3fe1be46a994272793"}}
ATTRIBUTES = {
    "text": {"DataType": "String", "StringValue": "Grüße"},
    "number": {"DataType": "Number.int", "StringValue": "-1.5e3"},
    "bytes": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
}


async def test_a_message_there_and_back(api: QueueApi) -> None:
    """Body, attributes, system attributes and MD5s come back as they were sent."""
    url = await api.create()
    body = "<ä>\n\t\U0001f600"
    sent = await api.call(
        "send_message", QueueUrl=url, MessageBody=body, MessageAttributes=ATTRIBUTES, MessageSystemAttributes=TRACE
    )
    assert sent["MD5OfMessageBody"] == hashlib.md5(body.encode()).hexdigest()
    (message,) = await api.receive(url, AttributeNames=["All"], MessageAttributeNames=["All"])
    assert message["Body"] == body
    assert message["MessageId"] == sent["MessageId"]
    assert message["MessageAttributes"] == ATTRIBUTES
    assert message["MD5OfMessageAttributes"] == sent["MD5OfMessageAttributes"]
    assert message["Attributes"] == {
        "SenderId": "000000000000",
        "SentTimestamp": str(START_MS),
        "ApproximateReceiveCount": "1",
        "ApproximateFirstReceiveTimestamp": str(START_MS),
        "AWSTraceHeader": TRACE["AWSTraceHeader"]["StringValue"],
    }
    await api.call("delete_message", QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    assert await api.attribute(url, "ApproximateNumberOfMessagesNotVisible") == "0"


async def test_a_trace_header_goes_on_with_the_message(api: QueueApi) -> None:
    """SDKs in functions send it with each request; it becomes the system attribute, where none was given."""
    url = await api.create()
    header = (
        "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0;Lineage=0123abcd:3%7C4567cdef:1"
    )

    def add(request: Any, **_: Any) -> None:
        request.headers["X-Amzn-Trace-Id"] = header

    api.client.meta.events.register("before-sign.sqs.*", add)
    sent = await api.call("send_message", QueueUrl=url, MessageBody="one")
    assert "MD5OfMessageSystemAttributes" not in sent
    given = await api.call("send_message", QueueUrl=url, MessageBody="own", MessageSystemAttributes=TRACE)
    assert given["MD5OfMessageSystemAttributes"]
    entries = [{"Id": "a", "MessageBody": "two"}]
    batch = await api.call("send_message_batch", QueueUrl=url, Entries=entries)
    assert "MD5OfMessageSystemAttributes" not in batch["Successful"][0]
    found = await api.receive(url, AttributeNames=["AWSTraceHeader"])
    headers = {message["Body"]: message["Attributes"]["AWSTraceHeader"] for message in found}
    assert headers == {"one": header, "two": header, "own": TRACE["AWSTraceHeader"]["StringValue"]}


async def test_only_what_is_asked_for_is_shown(api: QueueApi) -> None:
    """Attributes are left out unless they are named, in full, by prefix, or all."""
    url = await api.create(VisibilityTimeout=0)
    given = {name: {"DataType": "String", "StringValue": "x"} for name in ("a.b", "a.c", "d")}
    await api.call("send_message", QueueUrl=url, MessageBody="x", MessageAttributes=given)
    for names, expected in (
        ([], set()),
        (["d"], {"d"}),
        (["a.*"], {"a.b", "a.c"}),
        (["All"], set(given)),
        (["e"], set()),
    ):
        (message,) = await api.receive(url, MessageAttributeNames=names)
        assert set(message.get("MessageAttributes", {})) == expected
        assert ("MD5OfMessageAttributes" in message) == bool(expected)
        assert "Attributes" not in message
    (message,) = await api.receive(url, MessageSystemAttributeNames=["SentTimestamp", "SequenceNumber"])
    assert set(message["Attributes"]) == {"SentTimestamp"}
    assert (await api.refused("receive_message", QueueUrl=url, AttributeNames=["Nope"]))[0] == "InvalidAttributeName"


def attributes(name: str, kind: str, value: str) -> dict[str, object]:
    """Return message attributes with one in it."""
    return {name: {"DataType": kind, "StringValue": value}}


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"MessageBody": "\x00"}, "InvalidMessageContents"),
        ({"MessageBody": "\uffff"}, "InvalidMessageContents"),
        ({"MessageBody": ""}, "MissingParameter"),
        ({"MessageBody": "x" * 1025}, "InvalidParameterValue"),
        ({"DelaySeconds": 901}, "InvalidParameterValue"),
        ({"DelaySeconds": -1}, "InvalidParameterValue"),
        ({"MessageDeduplicationId": "d"}, "InvalidParameterValue"),
        ({"MessageAttributes": attributes("a", "Number", "x")}, "InvalidParameterValue"),
        ({"MessageAttributes": attributes("a", "Bool", "x")}, "InvalidParameterValue"),
        ({"MessageAttributes": attributes("AWS.a", "String", "x")}, "InvalidParameterValue"),
        ({"MessageAttributes": attributes("a..b", "String", "x")}, "InvalidParameterValue"),
        ({"MessageAttributes": attributes("a", "String", "")}, "InvalidParameterValue"),
        ({"MessageAttributes": attributes("a", "Binary", "x")}, "InvalidParameterValue"),
        (
            {"MessageAttributes": {str(n): {"DataType": "String", "StringValue": "x"} for n in range(11)}},
            "InvalidParameterValue",
        ),
        (
            {"MessageBody": "x" * 1000, "MessageAttributes": attributes("abc", "String", "y" * 16)},
            "InvalidParameterValue",
        ),
    ],
)
async def test_what_cannot_be_sent(api: QueueApi, more: dict[str, object], code: str) -> None:
    """A message that breaks a rule is refused with SQS's code, and nothing of it is kept."""
    url = await api.create(MaximumMessageSize=1024)
    assert (await api.refused("send_message", **{"QueueUrl": url, "MessageBody": "x", **more}))[0] == code
    assert await api.attribute(url, "ApproximateNumberOfMessages") == "0"


async def test_large_messages(api: QueueApi) -> None:
    """A message of 1 MiB is sent and received; one byte more is not."""
    url = await api.create()
    body = "é" * (512 * 1024)
    await api.call("send_message", QueueUrl=url, MessageBody=body)
    assert (await api.refused("send_message", QueueUrl=url, MessageBody=body + "x"))[0] == "InvalidParameterValue"
    assert await api.bodies(url) == [body]


async def test_batches(api: QueueApi) -> None:
    """Entries succeed and fail each for itself; what is wrong with the batch refuses all of it."""
    url = await api.create()
    entries = [
        {"Id": "ok", "MessageBody": "a"},
        {"Id": "bad", "MessageBody": "\x01"},
        {"Id": "late", "MessageBody": "b", "DelaySeconds": 5},
    ]
    sent = await api.call("send_message_batch", QueueUrl=url, Entries=entries)
    assert [entry["Id"] for entry in sent["Successful"]] == ["ok", "late"]
    (failed,) = sent["Failed"]
    assert (failed["Id"], failed["Code"], failed["SenderFault"]) == ("bad", "InvalidMessageContents", True)
    (message,) = await api.receive(url)
    answers = await api.call(
        "change_message_visibility_batch",
        QueueUrl=url,
        Entries=[
            {"Id": "1", "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": 10},
            {"Id": "2", "ReceiptHandle": "nonsense", "VisibilityTimeout": 10},
            {"Id": "3", "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": 43201},
        ],
    )
    assert [entry["Id"] for entry in answers["Successful"]] == ["1"]
    codes = {entry["Id"]: entry["Code"] for entry in answers["Failed"]}
    assert codes == {"2": "ReceiptHandleIsInvalid", "3": "InvalidParameterValue"}
    answers = await api.call(
        "delete_message_batch",
        QueueUrl=url,
        Entries=[{"Id": "1", "ReceiptHandle": message["ReceiptHandle"]}, {"Id": "2", "ReceiptHandle": "x"}],
    )
    assert [entry["Id"] for entry in answers["Successful"]] == ["1"]
    assert answers["Failed"][0]["Code"] == "ReceiptHandleIsInvalid"
    prefix = "AWS.SimpleQueueService."
    for wrong, code in (
        ([], "EmptyBatchRequest"),
        ([{"Id": str(n), "MessageBody": "x"} for n in range(11)], "TooManyEntriesInBatchRequest"),
        ([{"Id": "a", "MessageBody": "x"}] * 2, "BatchEntryIdsNotDistinct"),
        ([{"Id": "a b", "MessageBody": "x"}], "InvalidBatchEntryId"),
        ([{"Id": str(n), "MessageBody": "x" * 600_000} for n in range(2)], "BatchRequestTooLong"),
    ):
        assert (await api.refused("send_message_batch", QueueUrl=url, Entries=wrong))[0] == prefix + code
    assert await api.attribute(url, "ApproximateNumberOfMessages") == "0"


async def test_what_a_receive_may_ask_for(api: QueueApi) -> None:
    """Numbers out of range are refused, as is what only FIFO queues know."""
    url = await api.create()
    for params in (
        {"MaxNumberOfMessages": 0},
        {"MaxNumberOfMessages": 11},
        {"WaitTimeSeconds": 21},
        {"WaitTimeSeconds": -1},
        {"VisibilityTimeout": 43201},
        {"ReceiveRequestAttemptId": "a"},
    ):
        assert (await api.refused("receive_message", QueueUrl=url, **params))[0] == "InvalidParameterValue"
    assert "Messages" not in await api.call("receive_message", QueueUrl=url)


async def test_fifo_over_the_api(api: QueueApi) -> None:
    """Groups, deduplication and sequence numbers are asked for and shown as SQS does."""
    url = await api.create("q.fifo")
    send = {"QueueUrl": url, "MessageBody": "a", "MessageGroupId": "g"}
    assert (await api.refused("send_message", QueueUrl=url, MessageBody="a"))[0] == "MissingParameter"
    assert (await api.refused("send_message", **send))[0] == "InvalidParameterValue"
    assert (await api.refused("send_message", **send, MessageDeduplicationId="d", DelaySeconds=5))[0]
    assert (await api.refused("send_message", **{**send, "MessageGroupId": "a b"}, MessageDeduplicationId="d"))[0]
    first = await api.call("send_message", **send, MessageDeduplicationId="d")
    again = await api.call("send_message", **send, MessageDeduplicationId="d")
    assert (again["MessageId"], again["SequenceNumber"]) == (first["MessageId"], first["SequenceNumber"])
    second = await api.call("send_message", **send, MessageDeduplicationId="e")
    assert len(first["SequenceNumber"]) == 20
    assert int(second["SequenceNumber"]) > int(first["SequenceNumber"])
    one, _ = await api.receive(url, AttributeNames=["All"], ReceiveRequestAttemptId="t")
    assert one["Attributes"]["SequenceNumber"] == first["SequenceNumber"]
    assert one["Attributes"]["MessageGroupId"] == "g"
    assert one["Attributes"]["MessageDeduplicationId"] == "d"
    repeated = await api.receive(url, AttributeNames=["All"], ReceiveRequestAttemptId="t")
    assert len(repeated) == 2
    await api.timer.move(31)
    code, message = await api.refused("delete_message", QueueUrl=url, ReceiptHandle=one["ReceiptHandle"])
    assert code == "InvalidParameterValue"
    assert "expired" in message


async def test_long_polls_wake(api: QueueApi) -> None:
    """A poll ends when a message arrives, when a delay or a visibility timeout ends, or with nothing after its time."""
    url = await api.create(VisibilityTimeout=10)

    async def poll(wait_s: int = 20) -> tuple[list[str], float]:
        began = time.monotonic()
        return await api.bodies(url, WaitTimeSeconds=wait_s), time.monotonic() - began

    polling = asyncio.create_task(poll())
    await asyncio.sleep(0.2)
    await api.call("send_message", QueueUrl=url, MessageBody="now")
    bodies, took = await polling
    assert (bodies, took < 5) == (["now"], True)

    polling = asyncio.create_task(poll())
    await asyncio.sleep(0.2)
    await api.timer.move(10)
    assert (await polling)[0] == ["now"]

    polling = asyncio.create_task(poll())
    await asyncio.sleep(0.2)
    await api.call("send_message", QueueUrl=url, MessageBody="late", DelaySeconds=5)
    await asyncio.sleep(0.2)
    assert not polling.done()
    await api.timer.move(5)
    assert (await polling)[0] == ["late"]

    bodies, took = await poll(1)
    assert bodies == []
    assert 0.9 < took < 5
    await api.call("set_queue_attributes", QueueUrl=url, Attributes={"ReceiveMessageWaitTimeSeconds": "1"})
    began = time.monotonic()
    assert await api.bodies(url) == []
    assert time.monotonic() - began > 0.9


async def test_a_poll_ends_with_its_queue_and_its_gateway(api: QueueApi) -> None:
    """Who waits for a queue that is deleted is told; a gateway that stops answers its polls at once."""
    url, other = await api.create(), await api.create("other")
    waiting = asyncio.create_task(api.refused("receive_message", QueueUrl=url, WaitTimeSeconds=20))
    polling = asyncio.create_task(api.bodies(other, WaitTimeSeconds=20))
    await asyncio.sleep(0.2)
    await api.call("delete_queue", QueueUrl=url)
    assert (await waiting)[0].endswith("NonExistentQueue")
    assert not polling.done()
    api.service.polling.end()
    assert await polling == []


async def test_a_poll_whose_client_left_takes_nothing(api: QueueApi) -> None:
    """A message that arrives after a waiting client went away is for somebody else."""
    url = await api.create()
    body = json.dumps({"QueueUrl": url, "WaitTimeSeconds": 20})
    port = int(api.url.rsplit(":", 1)[1])
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    head = (
        f"POST / HTTP/1.1\r\nHost: h\r\nX-Amz-Target: AmazonSQS.ReceiveMessage\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write((head + body).encode())
    await writer.drain()
    await asyncio.sleep(0.3)
    writer.close()
    await asyncio.sleep(0.1)
    await api.call("send_message", QueueUrl=url, MessageBody="a")
    assert await api.bodies(url) == ["a"]


async def test_too_many_in_flight(api: QueueApi) -> None:
    """A short poll is told that too many messages are in flight, a long one waits."""
    from lambent_platform.store.queues import QueueStore

    store = QueueStore(api.redis, in_flight_max=1)
    api.service.polling._store = store
    url = await api.create()
    for body in "ab":
        await api.call("send_message", QueueUrl=url, MessageBody=body)
    assert await api.bodies(url) == ["a"]
    assert (await api.refused("receive_message", QueueUrl=url))[0] == "OverLimit"
    assert await api.bodies(url, WaitTimeSeconds=1) == []


async def test_messages_are_counted(api: QueueApi) -> None:
    """What was sent, received and deleted shows in the metrics."""
    url = await api.create()
    await api.call("send_message", QueueUrl=url, MessageBody="a")
    await api.call("send_message_batch", QueueUrl=url, Entries=[{"Id": "1", "MessageBody": "b"}])
    messages = await api.receive(url)
    entries = [{"Id": "1", "ReceiptHandle": messages[0]["ReceiptHandle"]}, {"Id": "2", "ReceiptHandle": "x"}]
    await api.call("delete_message_batch", QueueUrl=url, Entries=entries)
    name = "lambent_gateway_queue_messages_total"
    counts = {what: api.metrics.get_sample_value(name, {"what": what}) for what in ("sent", "received", "deleted")}
    assert counts == {"sent": 2, "received": 2, "deleted": 1}
