"""The query protocol: raw requests as curl sends them, and botocore with a model of before 2023."""

from __future__ import annotations

import asyncio
import copy
from typing import Any
from urllib.parse import quote, urlencode
from xml.etree import ElementTree as ET

import aiohttp
import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.loaders import Loader

from lambent_platform.gateway.aws.query_compatible import SQS

from .conftest import QueueApi

NAMESPACE = {"q": "http://queue.amazonaws.com/doc/2012-11-05/"}


async def form(url: str, **fields: str) -> tuple[int, ET.Element]:
    """Send a form; returns status and reply."""
    async with aiohttp.ClientSession() as session, session.post(url, data=fields) as reply:
        assert reply.headers["Content-Type"].startswith("text/xml")
        return reply.status, ET.fromstring(await reply.text())


def texts(root: ET.Element, path: str) -> list[str]:
    """The texts of elements."""
    return [element.text or "" for element in root.iterfind(path, NAMESPACE)]


async def test_curl(api: QueueApi) -> None:
    """Forms and plain URLs do everything, at the endpoint or at a queue's own URL, without a version or a signature."""
    _, made = await form(
        f"{api.url}/",
        Action="CreateQueue",
        QueueName="q",
        Version="2012-11-05",
        **{"Attribute.1.Name": "VisibilityTimeout", "Attribute.1.Value": "7", "Tag.1.Key": "k", "Tag.1.Value": "v"},
    )
    (url,) = texts(made, "q:CreateQueueResult/q:QueueUrl")
    assert url == f"{api.url}/000000000000/q"
    status, sent = await form(
        url,
        Action="SendMessage",
        MessageBody="a & b\r\n",
        **{
            "MessageAttribute.1.Name": "n",
            "MessageAttribute.1.Value.DataType": "Number",
            "MessageAttribute.1.Value.StringValue": "1",
            "MessageAttribute.2.Name": "b",
            "MessageAttribute.2.Value.DataType": "Binary",
            "MessageAttribute.2.Value.BinaryValue": "AP8=",
        },
    )
    assert status == 200
    assert sent.tag == f"{{{NAMESPACE['q']}}}SendMessageResponse"
    assert len(texts(sent, "q:SendMessageResult/q:MessageId")[0]) == 36
    assert len(texts(sent, "q:ResponseMetadata/q:RequestId")[0]) == 36
    async with aiohttp.ClientSession() as session:
        query = urlencode({"Action": "ReceiveMessage", "AttributeName": "All", "MessageAttributeName.1": "All"})
        async with session.get(f"{url}?{query}") as reply:
            got = ET.fromstring(await reply.text())
    message = "q:ReceiveMessageResult/q:Message"
    assert texts(got, f"{message}/q:Body") == ["a & b\r\n"]
    assert "SentTimestamp" in texts(got, f"{message}/q:Attribute/q:Name")
    assert sorted(texts(got, f"{message}/q:MessageAttribute/q:Name")) == ["b", "n"]
    assert texts(got, f"{message}/q:MessageAttribute/q:Value/q:BinaryValue") == ["AP8="]
    (handle,) = texts(got, f"{message}/q:ReceiptHandle")
    status, deleted = await form(url, Action="DeleteMessage", ReceiptHandle=handle)
    assert (status, deleted.find("q:DeleteMessageResult", NAMESPACE)) == (200, None)
    _, shown = await form(url, Action="GetQueueAttributes", **{"AttributeName.1": "VisibilityTimeout"})
    assert texts(shown, "q:GetQueueAttributesResult/q:Attribute/q:Value") == ["7"]
    _, tags = await form(url, Action="ListQueueTags")
    assert texts(tags, "q:ListQueueTagsResult/q:Tag/q:Key") == ["k"]
    _, listed = await form(f"{api.url}/", Action="ListQueues", Version="2012-11-05")
    assert texts(listed, "q:ListQueuesResult/q:QueueUrl") == [url]


@pytest.mark.parametrize(
    ("path", "fields", "code"),
    [
        (
            "/000000000000/none",
            {"Action": "SendMessage", "MessageBody": "x"},
            "AWS.SimpleQueueService.NonExistentQueue",
        ),
        ("/000000000000/q", {"Action": "SendMessage"}, "MissingParameter"),
        ("/000000000000/q", {"Action": "ReceiveMessage", "MaxNumberOfMessages": "11"}, "InvalidParameterValue"),
        ("/000000000000/q", {"Action": "DeleteMessage", "ReceiptHandle": "x"}, "ReceiptHandleIsInvalid"),
        ("/000000000000/q", {"Action": "SendMessageBatch"}, "MissingParameter"),
        ("/000000000000/q", {"Action": "Nope"}, "InvalidAction"),
        ("/", {"Action": "CreateQueue", "QueueName": "a b", "Version": "2012-11-05"}, "InvalidParameterValue"),
    ],
)
async def test_errors(api: QueueApi, path: str, fields: dict[str, str], code: str) -> None:
    """An error is XML under SQS's older code, and the sender's fault."""
    await api.create("q")
    status, reply = await form(api.url + path, **fields)
    assert status == 400
    assert texts(reply, "q:Error/q:Code") == [code]
    assert texts(reply, "q:Error/q:Type") == ["Sender"]
    assert texts(reply, "q:Error/q:Message")[0]


@pytest.fixture
def old_client(api: QueueApi, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client that speaks as boto3 did before SQS had the JSON protocol."""
    load = Loader.load_service_model

    def as_query(self: Loader, service: str, kind: str, api_version: str | None = None) -> Any:
        description = load(self, service, kind, api_version)
        if (service, kind) != ("sqs", "service-2"):
            return description
        changed = SQS.described(copy.deepcopy(description))
        for name in ("awsQueryCompatible", "jsonVersion", "targetPrefix", "protocols"):
            changed["metadata"].pop(name, None)
        changed["metadata"]["protocol"] = "query"
        return changed

    monkeypatch.setattr(Loader, "load_service_model", as_query)
    return boto3.Session().client(
        "sqs",
        endpoint_url=api.url,
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="s",
        config=Config(retries={"total_max_attempts": 1}),
    )


async def test_an_old_sdk(api: QueueApi, old_client: Any) -> None:
    """Its requests are forms, its replies XML, and all shapes come through both ways."""
    sent_forms: list[Any] = []
    old_client.meta.events.register("before-send.sqs.*", lambda request, **_: sent_forms.append(request.body))

    def work() -> None:
        url = old_client.create_queue(QueueName="q.fifo", Attributes={"FifoQueue": "true"}, tags={"a": "b"})["QueueUrl"]
        sent = old_client.send_message_batch(
            QueueUrl=url,
            Entries=[
                {"Id": "1", "MessageBody": "ä<", "MessageGroupId": "g", "MessageDeduplicationId": "1"},
                {"Id": "2", "MessageBody": "b", "MessageGroupId": "g"},
            ],
        )
        assert [entry["Id"] for entry in sent["Successful"]] == ["1"]
        assert (sent["Failed"][0]["Code"], sent["Failed"][0]["SenderFault"]) == ("InvalidParameterValue", True)
        trace = {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-2-3"}}
        attributes = {"b": {"DataType": "Binary", "BinaryValue": b"\x00\x01"}}
        old_client.send_message(
            QueueUrl=url,
            MessageBody="c",
            MessageGroupId="h",
            MessageDeduplicationId="3",
            MessageSystemAttributes=trace,
            MessageAttributes=attributes,
        )
        got = old_client.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, AttributeNames=["All"], MessageAttributeNames=["b"]
        )["Messages"]
        assert [message["Body"] for message in got] == ["ä<", "c"]
        assert got[1]["Attributes"]["AWSTraceHeader"] == "Root=1-2-3"
        assert got[1]["MessageAttributes"] == attributes
        entries = [{"Id": str(n), "ReceiptHandle": m["ReceiptHandle"]} for n, m in enumerate(got)]
        held = old_client.change_message_visibility_batch(
            QueueUrl=url, Entries=[{**entry, "VisibilityTimeout": 60} for entry in entries]
        )
        assert len(held["Successful"]) == 2
        assert len(old_client.delete_message_batch(QueueUrl=url, Entries=entries)["Successful"]) == 2
        old_client.add_permission(QueueUrl=url, Label="l", AWSAccountIds=["123456789012"], Actions=["SendMessage"])
        old_client.untag_queue(QueueUrl=url, TagKeys=["a"])
        assert "Policy" in old_client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        assert old_client.list_queues(QueueNamePrefix="q")["QueueUrls"] == [url]
        with pytest.raises(ClientError) as caught:
            old_client.get_queue_url(QueueName="none")
        assert caught.value.response["Error"]["Code"] == "AWS.SimpleQueueService.NonExistentQueue"

    await asyncio.to_thread(work)
    assert all("Action=" in body for body in sent_forms)
    assert len(sent_forms) == 11


async def test_strange_forms(api: QueueApi) -> None:
    """Fields that fit together nowhere are refused, not guessed at."""
    await api.create("q")
    fields = {"Attribute.1": "x", "Attribute.1.Name": "y"}
    status, _ = await form(f"{api.url}/000000000000/q", Action="SetQueueAttributes", **fields)
    assert status == 400
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{api.url}/000000000000/{quote('q')}?Action=Nope") as reply:
            assert reply.status == 400
        async with session.get(f"{api.url}/000000000000/q") as reply:
            assert reply.status == 404
