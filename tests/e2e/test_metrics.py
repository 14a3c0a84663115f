"""`/metrics` over real HTTP: what was called, failed, was refused and was started is seen counted."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from prometheus_client.parser import text_string_to_metric_families

from waiting import until

PROGRAM = """
import os, time
def handler(event, context):
    if event == "raise": raise ValueError("no")
    if event == "leave": os._exit(3)
    if event == "sleep": time.sleep(30)
    if event == "eat": return len(bytes(range(256)) * (1 << 21))
    if event == "loud":
        for _ in range(30_000): print("x" * 1000)
    return event
raise_at_import = 1 / int(os.environ.get("DIVISOR", "1"))
"""
PUBLISHED_WITHIN_S = 15.0


class Scrape:
    """One reading of `/metrics`."""

    def __init__(self, endpoint: str) -> None:
        with urllib.request.urlopen(f"{endpoint}/metrics", timeout=10) as answer:
            self.content_type = answer.headers["Content-Type"]
            text = answer.read().decode()
        self.families = {family.name: family for family in text_string_to_metric_families(text)}

    def value(self, name: str, **labels: str) -> float:
        """Sum the samples of that name with those labels, over all roles."""
        samples = [sample for family in self.families.values() for sample in family.samples if sample.name == name]
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


@pytest.fixture(scope="module")
def platform(running: Any) -> Iterator[Any]:
    """A platform of its own: what others left to be retried on a shared one would be counted too."""
    with running("process") as platform:
        yield platform


@pytest.fixture
def grown(platform: Any) -> Iterator[Callable[..., float]]:
    """By how much a sum has grown since the test began, as far as it is published."""
    before = Scrape(platform.endpoint)

    def growth(name: str, **labels: str) -> float:
        return Scrape(platform.endpoint).value(name, **labels) - before.value(name, **labels)

    return growth


def test_every_end_of_a_call_is_counted(platform: Any, grown: Callable[..., float]) -> None:
    """Good calls, errors, timeouts, crashes, failed inits and throttles appear, each under its own name, once."""
    client = platform.client("lambda")
    name = platform.deploy(PROGRAM, Timeout=3, MemorySize=1024)
    for event, times in (('"fine"', 2), ('"loud"', 1), ('"raise"', 2), ('"leave"', 1), ('"sleep"', 1)):
        for _ in range(times):
            client.invoke(FunctionName=name, Payload=event)
    broken = platform.deploy(PROGRAM, Environment={"Variables": {"DIVISOR": "0"}})
    client.invoke(FunctionName=broken, Payload="1")
    client.invoke(FunctionName=platform.deploy(PROGRAM, MemorySize=128), Payload='"eat"')
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    with pytest.raises(ClientError):
        client.invoke(FunctionName=name, Payload="1")

    assert grown("lambent_gateway_invocations_total", kind="sync", outcome="throttled") == 1
    assert grown("lambent_gateway_throttles_total", reason="ReservedFunctionConcurrentInvocationLimitExceeded") == 1
    expected = {"ok": 3, "function_error": 2, "crash": 1, "timeout": 1, "init_error": 1, "oom": 1}
    counts: dict[str, float] = {}

    def published() -> bool:
        counts.update({end: grown("lambent_worker_invocations_total", outcome=end) for end in expected})
        return sum(counts.values()) >= sum(expected.values())

    until(published, within_s=PUBLISHED_WITHIN_S, what="the worker's counts")
    assert counts == expected
    assert grown("lambent_worker_queue_wait_seconds_count", kind="sync") == 8
    assert grown("lambent_worker_queue_wait_seconds_sum", kind="sync") > 0
    assert grown("lambent_worker_log_lines_dropped_total") > 0


def test_cold_starts_and_environments(platform: Any, grown: Callable[..., float]) -> None:
    """A cold start is measured by phases, its environment is seen as one that is idle, and the scheduler ordered it."""
    name = platform.deploy(PROGRAM)
    assert platform.call(name, "fine") == "fine"
    until(
        lambda: grown("lambent_worker_cold_start_seconds_count", phase="init") >= 1,
        within_s=PUBLISHED_WITHIN_S,
        what="the worker's phases",
    )
    assert grown("lambent_worker_cold_starts_total") == 1
    for phase in ("walls", "code", "init"):
        assert grown("lambent_worker_cold_start_seconds_count", phase=phase) == 1
    until(
        lambda: grown("lambent_scheduler_environments_ordered_total") >= 1,
        within_s=PUBLISHED_WITHIN_S,
        what="the scheduler's counts",
    )
    scrape = Scrape(platform.endpoint)
    assert scrape.content_type.startswith("text/plain; version=")
    assert scrape.value("lambent_scheduler_workers") == 1
    assert scrape.value("lambent_scheduler_waiting") == 0
    instances = {
        sample.labels["instance_id"].partition(":")[0]
        for family in scrape.families.values()
        for sample in family.samples
        if "instance_id" in sample.labels
    }
    assert instances == {"worker", "scheduler", "pollers"}
