"""What ticks become: firings with ids of their own, retries within their time, dead letters, transformed inputs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lambent_platform.contracts.schedules import Firing, SourceRecord
from lambent_platform.core.schedules.firing import after_failure, dead_letter, firings_of, request_now
from lambent_platform.core.schedules.payload import PayloadError, select, transform

ARN = "arn:aws:scheduler:us-east-1:000000000000:schedule/default/s"
FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:f"


def record(**data: Any) -> SourceRecord:
    """A schedule as it is stored."""
    whole = {
        "Arn": ARN,
        "Account": "000000000000",
        "Region": "us-east-1",
        "Incarnation": "i",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {"Arn": FUNCTION},
    }
    return SourceRecord(id="schedule/000000000000:us-east-1:default/s", data=whole | data)


def firing(**target: Any) -> Firing:
    """The firing of a tick at the epoch."""
    return firings_of(record(Target={"Arn": FUNCTION, **target}), [0], now_ms=0)[0][1]


def test_ids_are_made_of_schedule_and_tick() -> None:
    """The same tick is the same firing, whoever makes it; another tick, schedule or incarnation is another one."""
    [(due, one)] = firings_of(record(), [60_000], now_ms=61_000)
    [(_, again)] = firings_of(record(), [60_000], now_ms=99_000)
    others = [
        firings_of(record(), [120_000], now_ms=0)[0][1],
        firings_of(record(Arn=ARN + "2"), [60_000], now_ms=0)[0][1],
        firings_of(record(Incarnation="j"), [60_000], now_ms=0)[0][1],
    ]
    assert (due, one.since_ms, one.id) == (60_000, 61_000, again.id)
    assert len({one.id, *(other.id for other in others)}) == 4
    assert Firing.from_dict(json.loads(json.dumps(one.to_dict()))) == one


def test_every_target_of_a_rule_has_a_firing_of_its_own() -> None:
    """Targets of one tick share the event's id, and differ in their own."""
    rule = SourceRecord(
        id="rule/000000000000:us-east-1:r",
        data={
            "Arn": "arn:aws:events:us-east-1:000000000000:rule/r",
            "Account": "000000000000",
            "Region": "us-east-1",
            "Incarnation": "i",
            "Targets": [{"Id": "a", "Arn": FUNCTION}, {"Id": "b", "Arn": FUNCTION}],
        },
    )
    (_, first), (_, second) = firings_of(rule, [0], now_ms=0)
    assert first.event_id == second.event_id
    assert first.id != second.id


def test_a_flexible_tick_can_be_called_off_unless_it_is_the_last() -> None:
    """Within a window a firing waits and asks for its schedule again; where that goes with it, it does not ask."""
    window = {"FlexibleTimeWindow": {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 10}}
    [(due, one)] = firings_of(record(**window), [0], now_ms=0)
    assert 0 <= due < 600_000
    assert (one.since_ms, one.cancellable) == (due, True)
    assert not firings_of(record(**window), [0], now_ms=0, last=True)[0][1].cancellable


def test_185_attempts_take_a_day() -> None:
    """With AWS's defaults a target that stays busy is tried over 24 hours, with pauses that grow to eight minutes."""
    one, now, pauses = firing(), 0, []
    while (failed := after_failure(one, code="c", message="m", passing=True, now_ms=now)).again_ms is not None:
        pauses.append(failed.again_ms - now)
        one, now = failed.firing, failed.again_ms
    assert pauses[:5] == [1000, 2000, 4000, 8000, 16_000]
    assert max(pauses) == 480_000
    assert 20 * 3_600_000 < now <= 86_400_000
    assert failed.firing.failure["condition"] in ("MaximumRetryAttempts", "MaximumEventAgeInSeconds")


@pytest.mark.parametrize(
    ("policy", "passing", "condition"),
    [
        ({"MaximumRetryAttempts": 0}, True, "MaximumRetryAttempts"),
        ({"MaximumEventAgeInSeconds": 60}, True, "MaximumEventAgeInSeconds"),
        ({}, False, ""),
    ],
)
def test_when_a_firing_is_given_up(policy: dict[str, int], passing: bool, condition: str) -> None:
    """No attempts left, no time left, or an error that stays: each is given up, and says why."""
    failed = after_failure(firing(RetryPolicy=policy), code="c", message="m" * 5000, passing=passing, now_ms=59_500)
    assert failed.again_ms is None
    assert failed.firing.failure == {"code": "c", "message": "m" * 1024, "condition": condition}


def test_a_dead_letter_without_a_request_has_the_input() -> None:
    """Where nothing could be made of the input, its queue gets it as it was given; without a queue there is none."""
    given = firing(Input="{", DeadLetterConfig={"Arn": "arn:aws:sqs:us-east-1:000000000000:q"})
    dead = after_failure(given, code="c", message="", passing=False, now_ms=0).firing
    letter = dead_letter(dead, None)
    assert letter is not None
    assert letter.body == b"{"
    assert letter.attributes["ERROR_MESSAGE"]["StringValue"] == "c"
    assert dead_letter(after_failure(firing(), code="c", message="", passing=False, now_ms=0).firing, None) is None


def test_attempts_are_numbered() -> None:
    """Each attempt says its number and has an execution id of its own, the same when it is made again."""
    one = firing(Input='["<aws.scheduler.attempt-number>", "<aws.scheduler.execution-id>", "<aws.scheduler.other>"]')
    later = after_failure(one, code="c", message="m", passing=True, now_ms=0).firing
    first, again, second = (json.loads(request_now(each).body) for each in (one, one, later))
    assert first == again
    assert (first[0], second[0], first[2]) == ("1", "2", "<aws.scheduler.other>")
    assert first[1] != second[1]


EVENT = {"time": "T", "detail": {"n": 1, "list": [{"x": 'say "x"'}], "none": None}, "detail-type": "Scheduled Event"}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("$", EVENT),
        ("$.time", "T"),
        ("$.detail-type", "Scheduled Event"),
        ("$.detail.list[0].x", 'say "x"'),
        ("$['detail']['n']", 1),
        ("$.detail.list[3]", None),
        ("$.nothing.there", None),
    ],
)
def test_paths(path: str, found: Any) -> None:
    """A path leads to a part of the event, or to nothing."""
    assert select(EVENT, path) == found


@pytest.mark.parametrize("path", ["", "detail", "$detail", "$..x", "$.a[*]", "$.a b"])
def test_what_is_no_path(path: str) -> None:
    """Anything else is refused."""
    with pytest.raises(PayloadError):
        select(EVENT, path)


@pytest.mark.parametrize(
    ("template", "made"),
    [
        ('"it is <t>"', '"it is T"'),
        ('{"n": <n>, "q": <x>, "in": "<x> and <n>"}', '{"n": 1, "q": "say \\"x\\"", "in": "say \\"x\\" and 1"}'),
        ('{"esc": "\\"<t>\\"", "next": <l>}', '{"esc": "\\"T\\"", "next": [{"x": "say \\"x\\""}]}'),
        ('{"gone": <no>, "text": "<no>"}', '{"gone": null, "text": ""}'),
        ('"<unknown> <aws.events.rule-name>"', '"<unknown> r"'),
        ("<t>", '"T"'),
    ],
)
def test_templates(template: str, made: str) -> None:
    """Variables within quotes are text, outside of them JSON; what is no variable stays."""
    paths = {"t": "$.time", "n": "$.detail.n", "x": "$.detail.list[0].x", "l": "$.detail.list", "no": "$.no"}
    text = transform({"InputPathsMap": paths, "InputTemplate": template}, EVENT, rule_arn="arn:aws:events:x:1:rule/r")
    assert json.loads(text) == json.loads(made)
