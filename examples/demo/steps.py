"""What the demo does, step by step. Each step raises `DemoFailed` unless it saw what it is there to show."""

from __future__ import annotations

import json
import re
import statistics
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from events import Refused, next_report, place_order, receive, schedule_once, wait_until
from jpeg import jpeg_size

from lambent import Client, LogEvent

EXAMPLES = Path(__file__).resolve().parent.parent
PHOTO_SIZE = (4032, 3024)
PREFERRED = ("python3.13", "python3.12", "python3.11", "python3.14")
DEPLOY_S = 900.0
"""A first deployment may build the runtime's image, and always installs Pillow."""
HTTP_S = 60.0
LOG_S = 30.0
WARM_CALLS = 5
POLL_S = 0.25
ONCE_S = 1.5
"""How long is looked whether the clock calls a second time."""


class DemoFailed(Exception):
    """Something that the demo promises was not seen."""


@dataclass
class Demo:
    """One run against one platform. Functions get names of their own, so that nobody's are touched."""

    client: Client
    suffix: str
    say: Callable[[str], None]
    retry_wait_s: float
    zero_wait_s: float
    stems_too: bool
    """Whether the stems must go as well; on a platform that others use they may be others'."""
    runtime: str = ""
    deployed: list[str] = field(default_factory=list)
    stacks: list[str] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)
    """What the deployment of `orders` gave."""
    started_ms: int = field(default_factory=lambda: int(time.time() * 1000))

    @property
    def resizer(self) -> str:
        """The name of the deployed `resize-image`."""
        return f"resize-image-{self.suffix}"

    @property
    def flaky(self) -> str:
        """The name of the deployed `flaky`."""
        return f"flaky-{self.suffix}"

    @property
    def orders(self) -> str:
        """The name of the stack that `orders` is deployed as."""
        return f"orders-{self.suffix}"

    def choose_runtime(self) -> None:
        """Take the Python that the platform has ready, else one that it can build."""
        known = self.client.runtimes()
        for wanted in ("ready", "buildable"):
            for name in PREFERRED:
                if known.get(name) == wanted:
                    self.runtime = name
                    self.say(f"{name} ({wanted})")
                    return
        raise DemoFailed(f"no Python to be had: {', '.join(f'{name}: {known.get(name)}' for name in PREFERRED)}")

    def deploy_resizer(self) -> None:
        """Deploy `resize-image`; the platform installs its Pillow."""
        self._deploy("resize-image", self.resizer)
        self.say(self.client.url(self.resizer))

    def cold_call(self) -> None:
        """Fetch a resized picture from a function that has no environment yet."""
        if any(each.function == self.resizer for each in self.client.environments()):
            raise DemoFailed(f"{self.resizer} has an environment before its first call")
        took_ms = self._fetch(640, by_host=False)
        self.say(f"640x480 from {PHOTO_SIZE[0]}x{PHOTO_SIZE[1]}, in {took_ms:.0f} ms")

    def warm_calls(self) -> None:
        """Fetch others from the same environment, and see in its log that only the first call started one."""
        times_ms = [self._fetch(width, by_host=True) for width in range(320, 320 + 4 * WARM_CALLS, 4)]
        reports = self._await_lines(self.resizer, r"REPORT ", count=1 + WARM_CALLS)
        started = ["Init Duration" in line for line in reports]
        if not started[0] or any(started[1:]):
            raise DemoFailed(f"the first call alone should have started an environment, but: {reports}")
        init = re.search(r"Init Duration: ([\d.]+ ms)", reports[0])
        self.say(
            f"median {statistics.median(times_ms):.0f} ms of {WARM_CALLS}; the cold one's init was {init and init[1]}"
        )

    def asynchronous_call(self) -> None:
        """Hand over an event, and see its result in the log."""
        begun = time.perf_counter()
        request = self.client.invoke_async(self.resizer, {"width": 1024})
        accepted_ms = (time.perf_counter() - begun) * 1000
        line = self._await_lines(self.resizer, r"resized .* to 1024x768")
        self._await_lines(self.resizer, f"END RequestId: {request}")
        self.say(f"accepted in {accepted_ms:.0f} ms; its log says: {line[0].strip()}")

    def failing_call(self) -> None:
        """Hand over an event whose first attempt fails, and see the second one succeed."""
        self._deploy("flaky", self.flaky)
        request = self.client.invoke_async(self.flaky, {"order": 42})
        begun = time.monotonic()
        self._await_lines(self.flaky, r"attempt 1: order 42")
        self._await_lines(self.flaky, r"attempt 2: order 42: stored", wait_s=self.retry_wait_s)
        starts = self._await_lines(self.flaky, f"START RequestId: {request}", count=2)
        self.say(f"{len(starts)} attempts of {request}, the second succeeded after {time.monotonic() - begun:.1f} s")

    def show_log(self) -> None:
        """Print the failing function's log: both attempts must be in it, in their order."""
        lines = [event.message.rstrip() for event in self._events(self.flaky)]
        for line in lines:
            # A trace is one event, its lines joined by carriage returns.
            self.say("  " + line.expandtabs(2).replace("\r", "\n      "))
        attempts = [line.partition(":")[0] for line in lines if line.startswith("attempt ")]
        if attempts != ["attempt 1", "attempt 2"]:
            raise DemoFailed(f"the log should tell of attempt 1 and attempt 2, not of {attempts}")
        if not any("WarehouseUnavailable" in line for line in lines):
            raise DemoFailed("the log does not tell what the first attempt failed of")

    def deploy_orders(self) -> None:
        """Deploy `orders`, an application of several functions, from its SAM template; again, nothing differs."""
        self.stacks.append(self.orders)
        given = {"stack": self.orders, "parameters": {"Runtime": self.runtime, "Stage": "test"}, "timeout_s": DEPLOY_S}
        self.outputs = self.client.stacks.deploy(EXAMPLES / "orders", **given)
        names = [f"{self.orders}-{each}" for each in ("Api", "Worker", "Report")]
        self.deployed += names
        del given["timeout_s"]
        if self.client.stacks.plan(EXAMPLES / "orders", **given).changes_anything:
            raise DemoFailed("deployed again without a change, orders should be as it is")
        self.say(f"3 functions, 2 queues, an API, a trigger, a schedule: {self.outputs['Url']}")

    def failing_order(self) -> None:
        """Place orders, of which one can never be shipped: it alone is tried again, and ends in the dead letters."""
        api = urlsplit(self.outputs["Url"]).netloc.partition(".")[0]
        url = f"{self.client.connection.endpoint}/_api/{api}"
        worker = self.outputs["Worker"]
        begun = time.monotonic()
        try:
            orders = {item: place_order(url, item) for item in ("tea", "unobtainium", "cake")}
            for item in ("tea", "cake"):
                self._await_lines(worker, f"order {orders[item]} shipped: {item}")
            bad = orders["unobtainium"]
            failures = self._await_lines(worker, f"order {bad} failed", count=2, wait_s=self.retry_wait_s)
            while not (dead := receive(self.client, self.outputs["DeadLetters"])):
                if time.monotonic() - begun > self.retry_wait_s:
                    raise DemoFailed(f"order {bad} failed {len(failures)} times and is not among the dead letters")
                time.sleep(POLL_S)
        except Refused as error:
            raise DemoFailed(str(error)) from error
        bodies = [json.loads(each["Body"]) for each in dead]
        if [each["id"] for each in bodies] != [bad]:
            raise DemoFailed(f"order {bad} alone should be a dead letter, but: {bodies}")
        lines = [event.message for event in self._events(worker)]
        shipped = {item: sum(f"order {orders[item]} shipped" in line for line in lines) for item in ("tea", "cake")}
        if shipped != {"tea": 1, "cake": 1}:
            raise DemoFailed(f"an order beside one that failed should be shipped once, but: {shipped}")
        self.say(f"2 orders shipped once; {failures[-1].strip()}")
        self.say(f"it is a dead letter {time.monotonic() - begun:.1f} s after it was placed: {bodies[0]}")

    def clock_calls(self) -> None:
        """Let the clock call the report: the nightly one where the platform's clock can be moved, else one at once."""
        report = self.outputs["Report"]
        clock = self.client.clock.now()
        if clock.virtual:
            due = next_report(clock.now)
            self.client.clock.set(due - timedelta(seconds=1))
            self.say(
                f"moved the clock from {clock.now:%d %b %H:%M:%S} to {due - timedelta(seconds=1):%d %b %H:%M:%S} UTC"
            )
        else:
            due = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=3)
            schedule_once(self.client, f"report-{self.suffix}", report, due)
            wait_until(due)
        begun = time.monotonic()
        (line,) = self._await_lines(report, r"\d+ orders failed for good")[:1]
        self.say(
            f"called at {due:%H:%M:%S} UTC; its log said so {time.monotonic() - begun:.1f} s later: {line.strip()}"
        )
        time.sleep(ONCE_S)
        said = [event.message for event in self._events(report) if "failed for good" in event.message]
        if len(said) != 1:
            raise DemoFailed(f"the clock should call it once, not {len(said)} times")

    def back_to_zero(self) -> None:
        """Wait until nothing of it runs any more."""
        deadline = time.monotonic() + self.zero_wait_s
        while True:
            running = self.client.environments()
            ours = [each for each in running if each.function in self.deployed]
            stems = [each for each in running if each.function is None and self.stems_too]
            if not ours and not stems:
                also = ", 0 stems" if self.stems_too else ""
                self.say(f"{len(self.deployed)} functions deployed, 0 environments{also}")
                return
            if time.monotonic() > deadline:
                left = ", ".join(f"{each.function or 'stem'} {each.state}" for each in ours + stems)
                raise DemoFailed(f"still there after {self.zero_wait_s:g} s: {left}")
            time.sleep(POLL_S)

    def clean_up(self) -> None:
        """Delete what was deployed."""
        while self.stacks:
            stack = self.stacks.pop()
            self.deployed = [each for each in self.deployed if not each.startswith(f"{stack}-")]
            if stack in self.client.stacks.names():
                self.client.stacks.destroy(stack)
        while self.deployed:
            self.client.delete(self.deployed.pop())

    def _deploy(self, example: str, name: str) -> None:
        self.deployed.append(name)
        function = self.client.deploy(EXAMPLES / example, name=name, runtime=self.runtime, timeout_s=DEPLOY_S)
        if function.state != "Active":
            raise DemoFailed(f"{name} is {function.state}: {function.state_reason}")
        self.say(f"{example} is active, {function.code_bytes / 1024:.0f} KB")

    def _fetch(self, width: int, *, by_host: bool) -> float:
        """Get a picture by HTTP and check its size; returns how long that took, in ms."""
        url = f"{self.client.path_url(self.resizer)}?width={width}"
        headers = {}
        if by_host:
            # What a browser sends for the function's own URL; not every resolver knows names below localhost.
            url = f"{self.client.connection.endpoint}/?width={width}"
            headers["Host"] = urlsplit(self.client.url(self.resizer)).netloc
        begun = time.perf_counter()
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=HTTP_S) as answer:
                kind, body = answer.headers.get_content_type(), answer.read()
        except urllib.error.HTTPError as error:
            raise DemoFailed(f"{url} answered {error.code}: {error.read(300).decode(errors='replace')}") from error
        except OSError as error:
            raise DemoFailed(f"{url}: {error}") from error
        took_ms = (time.perf_counter() - begun) * 1000
        try:
            size = jpeg_size(body)
        except ValueError as error:
            raise DemoFailed(f"{url} gave {len(body)} bytes of {kind}: {error}") from error
        expected = (width, round(PHOTO_SIZE[1] * width / PHOTO_SIZE[0]))
        if kind != "image/jpeg" or size != expected:
            raise DemoFailed(f"{url} gave {kind} of {size}, not image/jpeg of {expected}")
        return took_ms

    def _events(self, name: str) -> list[LogEvent]:
        return list(self.client.logs(name, start_ms=self.started_ms))

    def _await_lines(self, name: str, pattern: str, *, count: int = 1, wait_s: float = LOG_S) -> list[str]:
        """Read a function's log until `count` of its lines begin with the pattern, and return those."""
        deadline = time.monotonic() + wait_s
        while True:
            lines = [event.message for event in self._events(name)]
            found = [line for line in lines if re.match(pattern, line)]
            if len(found) >= count:
                return found
            if time.monotonic() > deadline:
                raise DemoFailed(
                    f"the log of {name} has {len(found)} lines like {pattern!r} after {wait_s:g} s, not {count}; "
                    f"it ends with {lines[-12:]}"
                )
            time.sleep(POLL_S)
