"""What mappings may be, and how they change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lambent_platform.contracts.errors import ApiError, InvalidParameterValue
from lambent_platform.contracts.mappings import MappingRecord, mapping_uuid
from lambent_platform.core.mapping_sources import QUEUE, source_rules
from lambent_platform.core.mappings import changed, deleted, described, settings, settled

QUEUE_ARN = "arn:aws:sqs:us-east-1:000000000000:jobs"
FUNCTION_ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"
UUID = "1b2c3d4e-0000-4000-8000-000000000001"


def record(**more: Any) -> MappingRecord:
    """A settled mapping."""
    given: dict[str, Any] = {
        "uuid": UUID,
        "account": "000000000000",
        "region": "us-east-1",
        "source_arn": QUEUE_ARN,
        "function_arn": FUNCTION_ARN,
        "state": "Enabled",
        "batch_size": 10,
    }
    return MappingRecord(**{**given, **more})


@pytest.mark.parametrize(
    ("arn", "words"),
    [
        (None, "Unrecognized event source"),
        ("arn:aws:s3:::bucket", "Unrecognized event source"),
        ("arn:aws:sqs:us-east-1:000000000000:a b", "Unrecognized event source"),
        ("arn:aws:kinesis:us-east-1:000000000000:stream/s", "Kinesis streams are not served"),
        ("arn:aws:dynamodb:us-east-1:000000000000:table/t/stream/x", "DynamoDB streams are not served"),
        ("arn:aws:kafka:us-east-1:000000000000:cluster/c/x", "Managed Kafka clusters are not served"),
        ("arn:aws:mq:us-east-1:000000000000:broker:b:x", "Amazon MQ brokers are not served"),
    ],
)
def test_unserved_sources_are_refused(arn: str | None, words: str) -> None:
    """A source that nothing polls is refused with words that say so."""
    with pytest.raises(InvalidParameterValue, match=words):
        source_rules(arn)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"batch_size": 11}, "Maximum batch window in seconds must be greater than 0"),
        ({"source_arn": f"{QUEUE_ARN}.fifo", "window_s": 1}, "Batching window is not supported for FIFO queues"),
        ({"source_arn": f"{QUEUE_ARN}.fifo", "batch_size": 11}, "less than or equal to 10 for FIFO queues"),
        ({"batch_size": 10_000, "window_s": 1}, ""),
        ({"source_arn": f"{QUEUE_ARN}.fifo"}, ""),
        ({}, ""),
    ],
)
def test_queue_settings_that_do_not_go_together(more: dict[str, Any], words: str) -> None:
    """Large batches need a window; FIFO queues have neither."""
    if not words:
        QUEUE.check(record(**more))
        return
    with pytest.raises(InvalidParameterValue, match=words):
        QUEUE.check(record(**more))


def test_members_of_other_sources_are_refused() -> None:
    """What means nothing for a queue is refused where it says something, and ignored where it says "none"."""
    with pytest.raises(InvalidParameterValue, match="StartingPosition is not supported for sqs event sources"):
        settings({"StartingPosition": "LATEST"}, QUEUE, {})
    assert settings({"BisectBatchOnFunctionError": False, "Topics": []}, QUEUE, {})["bisect"] is False


def test_empty_settings_take_away() -> None:
    """An empty structure takes a setting away; what is not named stays."""
    given = {
        "FilterCriteria": {"Filters": [{"Pattern": '{"a": [1]}'}]},
        "ScalingConfig": {"MaximumConcurrency": 5},
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "MetricsConfig": {"Metrics": ["EventCount"]},
    }
    full = replace(record(), **settings(given, QUEUE, {}))
    assert (full.filters, full.concurrency_max, full.report_item_failures) == (('{"a": [1]}',), 5, True)
    assert described(full, QUEUE)["MetricsConfig"] == {"Metrics": ["EventCount"]}
    assert settings({"BatchSize": 3}, QUEUE, full.passthrough) == {"batch_size": 3, "passthrough": full.passthrough}
    none = {"FilterCriteria": {}, "ScalingConfig": {}, "FunctionResponseTypes": []}
    emptied = replace(full, **settings(none, QUEUE, full.passthrough))
    assert (emptied.filters, emptied.concurrency_max, emptied.report_item_failures) == ((), None, False)
    shown = described(emptied, QUEUE)
    assert (shown["FilterCriteria"], shown["ScalingConfig"], shown["FunctionResponseTypes"]) == (None, None, [])


def test_filters_have_a_bound() -> None:
    """More than five filters are refused."""
    with pytest.raises(InvalidParameterValue, match="at most 5"):
        settings({"FilterCriteria": {"Filters": [{"Pattern": "{}"}] * 6}}, QUEUE, {})


def test_what_changes_is_refused_to_change() -> None:
    """A settled mapping becomes Updating or Deleting; one that is on its way is in use."""
    after = changed(record(), {"enabled": False}, now_ms=7)
    assert (after.state, after.last_modified_ms, settled(after)) == ("Updating", 7, "Disabled")
    assert deleted(record(state="Disabled"), now_ms=8).state == "Deleting"
    for state in ("Creating", "Updating", "Deleting"):
        for change in (lambda one: changed(one, {}, now_ms=1), lambda one: deleted(one, now_ms=1)):
            with pytest.raises(ApiError) as raised:
                change(record(state=state))
            assert (raised.value.code, raised.value.status) == ("ResourceInUseException", 400)


def test_a_record_survives_json() -> None:
    """A record is read as it was written, fields of a later release left out."""
    one = record(filters=('{"a": [1]}',), tags={"k": "v"}, generation=4, last_result="OK")
    assert MappingRecord.from_dict({**one.to_dict(), "novel": 1}, generation=4, last_result="OK") == one
    assert mapping_uuid(one.arn) == UUID
    assert mapping_uuid(FUNCTION_ARN) is None
