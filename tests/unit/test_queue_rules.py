"""The pure parts of queues: MD5s, handles, names, attributes, what may be asked."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent_platform.contracts.queue_errors import QueueError
from lambent_platform.contracts.queues import NewMessage, QueueCounts, QueueRecord, QueueRef, is_queue_name
from lambent_platform.core.queue_attributes import (
    changed_attributes,
    check_dead_letter_queue,
    difference,
    new_attributes,
    shown,
)
from lambent_platform.core.queue_message_rules import check_message, chosen
from lambent_platform.core.queue_messages import (
    Leaving,
    Receipt,
    address,
    deduplication_id,
    md5_of_attributes,
    outgoing,
    received,
)

TEXT = {"DataType": "String", "StringValue": "my_value"}


ARN = "arn:aws:sqs:us-east-1:000000000000:dead"


def queue(name: str = "q", **attributes: object) -> QueueRecord:
    """Make a record."""
    given_ = {key: str(value) for key, value in attributes.items()}
    if name.endswith(".fifo"):
        given_["FifoQueue"] = "true"
    return QueueRecord(account="000000000000", region="us-east-1", name=name, attributes=given_, incarnation="i")


@pytest.mark.parametrize(
    ("attributes", "md5"),
    [
        ({}, ""),
        # Computed by AWS, from an issue about a client that computed another one.
        ({"timestamp": {"DataType": "Number", "StringValue": "1493147359900"}}, "235c5c510d26fb653d073faed50ae77c"),
        (
            {
                "timestamp": {"DataType": "Number", "StringValue": "1493147359900"},
                "some_name": {"DataType": "String", "StringValue": "test"},
            },
            None,
        ),
    ],
)
def test_md5_of_attributes(attributes: dict[str, dict[str, str]], md5: str | None) -> None:
    """It is what AWS computes, and does not depend on the order in which they were given."""
    computed = md5_of_attributes(attributes)
    assert computed == md5_of_attributes(dict(reversed(attributes.items())))
    if md5 is not None:
        assert computed == md5


def test_md5_tells_bytes_from_text() -> None:
    """The same bytes as text and as bytes are two things."""
    text = md5_of_attributes({"a": {"DataType": "String", "StringValue": "x"}})
    assert text != md5_of_attributes({"a": {"DataType": "String", "BinaryValue": b"x"}})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("arn:aws:sqs:eu-west-1:123456789012:q", "123456789012:eu-west-1:q"),
        ("http://h:1/123456789012/q.fifo", "123456789012:r:q.fifo"),
        ("https://h/prefix/123456789012/q", "123456789012:r:q"),
        ("http://h/123456789012/q/", "123456789012:r:q"),
        ("q", "a:r:q"),
        ("123456789012/q", "123456789012:r:q"),
        ("http://h/12345/q", None),
        ("http://h/q", "a:r:q"),
        ("arn:aws:sqs:eu-west-1:123:q", None),
        ("a/b/c.d", None),
        ("", None),
        ("http://h/123456789012/q%2Fr", None),
        ("http://[h/123456789012/q", "123456789012:r:q"),
        ("http://h/123456789012/q?a=b/c#d", "123456789012:r:q"),
        ("http://h", None),
        ("http://h/١٢٣٤٥٦٧٨٩٠١٢/q", None),
    ],
)
def test_which_queue(text: str, found: str | None) -> None:
    """ARNs, URLs of any host and bare names are read; nothing else is."""
    ref = QueueRef.parse(text, account="a", region="r")
    assert (ref.ident if ref else None) == found


@pytest.mark.parametrize(
    ("name", "good"),
    [("a" * 80, True), ("a" * 81, False), ("a.fifo", True), (".fifo", False), ("a" * 76 + ".fifo", False), ("", False)],
)
def test_names(name: str, good: bool) -> None:
    """Up to 80 letters, digits, hyphens and underscores, `.fifo` at the end included."""
    assert is_queue_name(name) is good


@given(st.text())
def test_no_text_breaks_a_handle(text: str) -> None:
    """Whatever a client sends as a handle is read or is none."""
    for handle in (text, "AQEB" + text):
        receipt = Receipt.parse(handle)
        assert receipt is None or receipt.place.isdigit()


def test_handles_carry_what_they_are_of() -> None:
    """A handle comes back as the receive that it was made of, with its own expiry."""
    receipt = Receipt("i", "0000000000000042", 3, 1000, 31_000)
    assert Receipt.parse(receipt.handle()) == receipt
    assert receipt.latest_ms() == 1000 + 43_200_000


@given(
    body=st.text(min_size=1),
    group=st.from_regex(r"[a-z!~]{1,20}", fullmatch=True),
    value=st.text(min_size=1),
    data=st.binary(min_size=1),
)
def test_stored_and_received(body: str, group: str, value: str, data: bytes) -> None:
    """Whatever characters a message has, it is received as it was sent."""
    attributes = {"t": {"DataType": "String", "StringValue": value}, "b": {"DataType": "Binary", "BinaryValue": data}}
    fifo = queue("q.fifo", ContentBasedDeduplication="true")
    message = NewMessage(body=body, group_id=group, message_attributes=attributes)
    out = outgoing(fifo, message, now_ms=5)
    got = received(fifo, out.stored, place="0000000000000007", count=1, first_ms=6, now_ms=6, visibility_s=1)
    assert (got.body, got.message_attributes, got.attributes["MessageGroupId"]) == (body, attributes, group)
    assert got.md5_of_message_attributes == out.md5_of_message_attributes


def test_what_duplicates_are_told_by() -> None:
    """A given id, else the content where the queue says so; in the scope of the queue or of the group."""
    message = NewMessage(body="b", group_id="g")
    by_content = queue("q.fifo", ContentBasedDeduplication="true")
    assert deduplication_id(queue(), message) == ""
    assert deduplication_id(queue("q.fifo"), message) == ""
    assert len(deduplication_id(by_content, message)) == 64
    with_id = NewMessage(body="b", group_id="g", deduplication_id="d")
    assert deduplication_id(by_content, with_id) == "d"
    assert outgoing(by_content, with_id, now_ms=1).duplicate_key == "d:d"
    grouped = queue("q.fifo", DeduplicationScope="messageGroup")
    assert outgoing(grouped, with_id, now_ms=1).duplicate_key == "d:g d"


def test_a_dead_letter_keeps_its_marks() -> None:
    """It is the same message, with its source and all its receives; moved back it is a new one without them."""
    out = outgoing(queue(), NewMessage(body="x\ny"), now_ms=5)
    entry = address("000000000000:us-east-1:dead").encode() + b"\n3|7|5|\n" + out.stored
    leaving = Leaving.parse("0000000000000001", entry)
    assert (leaving.target(), leaving.task) == ("000000000000:us-east-1:dead", "")
    letter = leaving.arriving(queue().ref, fifo=False, now_ms=100)
    assert (letter.id, letter.sent_ms) == (out.id, 5)
    assert leaving.arriving(queue().ref, fifo=True, now_ms=100).sent_ms == 0
    got = received(queue("dead"), letter.stored, place="0" * 16, count=1, first_ms=200, now_ms=200, visibility_s=1)
    assert got.attributes["DeadLetterQueueSourceArn"] == queue().arn
    assert got.attributes["ApproximateReceiveCount"] == "4"
    assert got.attributes["ApproximateFirstReceiveTimestamp"] == "7"
    task = "6f2d1a52-5b1f-4f0e-9d2e-0c4f6f3f7a11"
    back = Leaving.parse("0000000000000001", f"{task} ".encode() + b"\n1|7|5|\n" + letter.stored)
    assert back.target() == queue().ident
    new = back.arriving(queue("dead").ref, fifo=False, now_ms=300)
    assert new == back.arriving(queue("dead").ref, fifo=False, now_ms=300)
    got = received(queue(), new.stored, place="0" * 16, count=1, first_ms=400, now_ms=400, visibility_s=1)
    assert got.id == new.id != out.id
    assert "DeadLetterQueueSourceArn" not in got.attributes
    assert (got.attributes["SentTimestamp"], got.attributes["ApproximateReceiveCount"]) == ("300", "1")


@pytest.mark.parametrize(
    ("name", "value", "good"),
    [
        ("VisibilityTimeout", "0", True),
        ("VisibilityTimeout", "43200", True),
        ("VisibilityTimeout", "43201", False),
        ("VisibilityTimeout", "-1", False),
        ("VisibilityTimeout", "1.5", False),
        ("VisibilityTimeout", "", False),
        ("VisibilityTimeout", "²", False),
        ("MaximumMessageSize", "1023", False),
        ("MaximumMessageSize", "1024", True),
        ("MaximumMessageSize", "1048576", True),
        ("MaximumMessageSize", "1048577", False),
        ("MessageRetentionPeriod", "59", False),
        ("MessageRetentionPeriod", "1209600", True),
        ("MessageRetentionPeriod", "1209601", False),
        ("DelaySeconds", "900", True),
        ("DelaySeconds", "901", False),
        ("ReceiveMessageWaitTimeSeconds", "20", True),
        ("ReceiveMessageWaitTimeSeconds", "21", False),
        ("KmsDataKeyReusePeriodSeconds", "59", False),
        ("SqsManagedSseEnabled", "yes", False),
        ("Policy", "[]", False),
        ("Policy", "{}", True),
        ("Policy", "", True),
        ("Policy", '{"a":' + "9" * 5000 + "}", False),
        ("Policy", "{" + " " * 8190 + "}", True),
        ("Policy", "{" + " " * 8191 + "}", False),
        ("KmsMasterKeyId", "k" * 8193, False),
        ("RedriveAllowPolicy", '{"redrivePermission":"denyAll"}' + " " * 8192, False),
        ("RedrivePolicy", f'{{"deadLetterTargetArn":"{ARN}","maxReceiveCount":"5"}}', True),
        ("RedrivePolicy", f'{{"deadLetterTargetArn":"{ARN}","maxReceiveCount":"²"}}', False),
        ("RedrivePolicy", f'{{"deadLetterTargetArn":"{ARN}","maxReceiveCount":"{"9" * 5000}"}}', False),
        ("RedriveAllowPolicy", '{"redrivePermission":"byQueue"}', False),
        ("RedriveAllowPolicy", '{"redrivePermission":"denyAll"}', True),
        ("RedriveAllowPolicy", '{"redrivePermission":"denyAll","sourceQueueArns":[]}', False),
        ("QueueArn", "x", False),
        ("ContentBasedDeduplication", "true", False),
        ("Nope", "1", False),
        ("All", "1", False),
    ],
)
def test_attributes(name: str, value: str, good: bool) -> None:
    """Each attribute has its range; what cannot be set is refused by name."""
    if good:
        assert new_attributes({name: value}).get(name, "") == value
    else:
        with pytest.raises(QueueError) as caught:
            new_attributes({name: value})
        assert name in caught.value.message


def test_attributes_that_go_together() -> None:
    """FIFO attributes need a FIFO queue, high throughput its scope, and one kind of encryption excludes the other."""
    fifo = {"FifoQueue": "true"}
    high = {"FifoThroughputLimit": "perMessageGroupId"}
    with pytest.raises(QueueError, match="DeduplicationScope"):
        new_attributes({**fifo, **high})
    both = new_attributes({**fifo, **high, "DeduplicationScope": "messageGroup"})
    with pytest.raises(QueueError, match="DeduplicationScope"):
        changed_attributes(both, {"DeduplicationScope": "queue"}, fifo=True)
    with pytest.raises(QueueError, match="FifoQueue"):
        new_attributes({"FifoQueue": "false"})
    with pytest.raises(QueueError, match="FifoQueue"):
        changed_attributes({"DelaySeconds": "1"}, fifo, fifo=False)
    with pytest.raises(QueueError, match="encryption"):
        new_attributes({"KmsMasterKeyId": "k", "SqsManagedSseEnabled": "true"})
    kms = new_attributes({"KmsMasterKeyId": "k"})
    assert shown(queue(**kms), ["All"], None)["SqsManagedSseEnabled"] == "false"
    assert shown(queue(**kms), ["KmsDataKeyReusePeriodSeconds"], None) == {"KmsDataKeyReusePeriodSeconds": "300"}
    assert "KmsMasterKeyId" not in changed_attributes(kms, {"SqsManagedSseEnabled": "true"}, fifo=False)


def test_whether_a_queue_is_as_asked_for() -> None:
    """Only what is asked for is compared, defaults count, and a policy is compared by what it says."""
    policy = json.dumps({"deadLetterTargetArn": queue("d").arn, "maxReceiveCount": 3})
    one = queue(VisibilityTimeout=5, RedrivePolicy=policy)
    assert difference(one, {}) is None
    assert difference(one, {"VisibilityTimeout": "5", "DelaySeconds": "0"}) is None
    assert difference(one, {"RedrivePolicy": json.dumps(json.loads(policy), indent=1)}) is None
    assert difference(one, {"DelaySeconds": "1"}) == "DelaySeconds"
    assert difference(one, {"KmsMasterKeyId": "k"}) == "KmsMasterKeyId"


def test_who_may_send_dead_letters() -> None:
    """The dead-letter queue's own policy says whose it takes."""
    policy = json.dumps({"deadLetterTargetArn": queue("d").arn, "maxReceiveCount": 3})
    one = queue(RedrivePolicy=policy)
    check_dead_letter_queue(one, queue("d"))
    by_name = {"redrivePermission": "byQueue", "sourceQueueArns": [one.arn]}
    check_dead_letter_queue(one, queue("d", RedriveAllowPolicy=json.dumps(by_name)))
    other = {"redrivePermission": "byQueue", "sourceQueueArns": [queue("x").arn]}
    for allow in ({"redrivePermission": "denyAll"}, other):
        with pytest.raises(QueueError, match="allow"):
            check_dead_letter_queue(one, queue("d", RedriveAllowPolicy=json.dumps(allow)))
    for dead in (None, queue("d.fifo"), one):
        with pytest.raises(QueueError, match="RedrivePolicy"):
            check_dead_letter_queue(one, dead)


def test_counts_are_shown() -> None:
    """Numbers of messages are attributes of their own."""
    found = shown(queue(), ["ApproximateNumberOfMessages", "QueueArn"], QueueCounts(1, 2, 3))
    assert found == {"ApproximateNumberOfMessages": "1", "QueueArn": queue().arn}


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ((), ()),
        (("All",), ("a", "b.c", "b.d")),
        ((".*",), ("a", "b.c", "b.d")),
        (("b.*",), ("b.c", "b.d")),
        (("a", "nope"), ("a",)),
        (("b",), ()),
    ],
)
def test_attributes_that_are_asked_for(names: tuple[str, ...], found: tuple[str, ...]) -> None:
    """All, by prefix, or by name."""
    assert tuple(chosen(names, dict.fromkeys(("a", "b.c", "b.d"), TEXT))) == found


def test_the_size_of_a_message() -> None:
    """Body, and names, types and values of attributes count, in bytes."""
    message = NewMessage(body="é", message_attributes={"ab": TEXT})
    assert check_message(queue(), message) == 2 + 2 + 6 + 8
