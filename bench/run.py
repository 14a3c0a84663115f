"""Measures what README and RESULTS.md say, beside a bare echo server in the same run.

python bench/run.py            all of it: medians of 5 (a few minutes); writes bench/RESULTS.md
python bench/run.py --quick    medians of 3, shorter; prints only
python bench/run.py --smoke    one short turn of everything, to see that it runs
"""

from __future__ import annotations

import argparse
import json
import os
import platform as machine
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import served
from events import EventPlan, events
from keepalive import SimulationPlan, compare

HERE = Path(__file__).parent
CONNECTIONS = (1, 16, 64)


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    runs: int
    seconds: float
    cold_runs: int
    functions_at_rest: int
    settle_s: float
    events: EventPlan
    simulation: SimulationPlan


PLANS = {
    "full": Plan(
        runs=5,
        seconds=4.0,
        cold_runs=7,
        functions_at_rest=1000,
        settle_s=12.0,
        events=EventPlan(5, 5_000, 20_000, 4.0, 300, 1_000_000),
        simulation=SimulationPlan(seeds=3, functions=150, days=5.0),
    ),
    "quick": Plan(
        runs=3,
        seconds=2.0,
        cold_runs=3,
        functions_at_rest=200,
        settle_s=8.0,
        events=EventPlan(3, 2_000, 8_000, 2.0, 100, 100_000),
        simulation=SimulationPlan(seeds=1, functions=100, days=3.0),
    ),
    "smoke": Plan(
        runs=1,
        seconds=0.5,
        cold_runs=1,
        functions_at_rest=10,
        settle_s=6.0,
        events=EventPlan(1, 200, 800, 0.5, 10, 1_000),
        simulation=SimulationPlan(seeds=1, functions=20, days=1.0),
    ),
}


def load(url: str, connections: int, seconds: float, *, host: str = "") -> dict[str, float]:
    """Run the load generator as a process of its own."""
    words = [url, "--connections", str(connections), "--seconds", str(seconds), "--host", host]
    out = subprocess.run(
        [sys.executable, str(HERE / "load.py"), *words],
        capture_output=True,
        check=True,
        timeout=seconds + 90,
    )
    result: dict[str, float] = json.loads(out.stdout)
    if result["errors"]:
        raise RuntimeError(f"{result['errors']:.0f} of {result['requests']:.0f} requests failed at {url}")
    return result


def warm(plan: Plan, sandbox: str) -> list[str]:
    """Measure warm synchronous invocations, in turns with the echo server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    echo = subprocess.Popen([sys.executable, str(HERE / "echo.py"), str(port)])
    try:
        with served.platform("--sandbox", sandbox, "--freeze-after-s", "60") as platform:
            platform.deploy("hello", MemorySize=1769)  # one vCPU: below, Lambda's own share of time would be measured
            url = platform.invoke_url("hello")
            load(url, 64, 2.0)
            rows = [
                f"| warm ({sandbox}) | echo req/s | Invoke req/s | ratio | echo p50 ms | Invoke p50 ms | p99 ms |",
                "|---|---|---|---|---|---|---|",
            ]
            for connections in CONNECTIONS:
                pairs = [
                    (load(f"http://127.0.0.1:{port}/", connections, plan.seconds), load(url, connections, plan.seconds))
                    for _ in range(plan.runs)
                ]
                rows.append(_warm_row(connections, pairs))
            return rows
    finally:
        echo.terminate()
        echo.wait()


def _warm_row(connections: int, pairs: list[tuple[dict[str, float], dict[str, float]]]) -> str:
    def middle(which: int, key: str) -> float:
        return statistics.median(pair[which][key] for pair in pairs)

    ratio = statistics.median(ours["requests_per_s"] / bare["requests_per_s"] for bare, ours in pairs)
    return (
        f"| {connections} conn. | {middle(0, 'requests_per_s'):,.0f} | {middle(1, 'requests_per_s'):,.0f} "
        f"| {ratio:.2f} | {middle(0, 'p50_ms'):.2f} | {middle(1, 'p50_ms'):.2f} | {middle(1, 'p99_ms'):.2f} |"
    )


def routed(plan: Plan, sandbox: str) -> list[str]:
    """Measure requests to a route of an HTTP API, in turns with the function's own URL."""
    rows = [
        f"| routed ({sandbox}) | URL req/s | API req/s | ratio | URL p50 ms | API p50 ms |",
        "|---|---|---|---|---|---|",
    ]
    with served.platform("--sandbox", sandbox, "--freeze-after-s", "60") as platform:
        platform.deploy("hello", MemorySize=1769)
        url = platform.client().create_function_url_config(FunctionName="hello", AuthType="NONE")["FunctionUrl"]
        client = platform.client("apigatewayv2")
        api = client.create_api(
            Name="site",
            ProtocolType="HTTP",
            RouteKey="POST /pets/{id}",
            Target="arn:aws:lambda:us-east-1:000000000000:function:hello",
        )
        hosts = [urlsplit(address).netloc for address in (url, api["ApiEndpoint"])]
        target = f"{platform.endpoint}/pets/7"
        load(target, 16, 2.0, host=hosts[0])
        for connections in CONNECTIONS[:2]:
            pairs = [
                tuple(load(target, connections, plan.seconds, host=host) for host in hosts) for _ in range(plan.runs)
            ]
            ratio = statistics.median(there["requests_per_s"] / here["requests_per_s"] for here, there in pairs)
            cells = [
                statistics.median(pair[which][key] for pair in pairs)
                for key in ("requests_per_s", "p50_ms")
                for which in (0, 1)
            ]
            rows.append(
                f"| {connections} conn. | {cells[0]:,.0f} | {cells[1]:,.0f} | {ratio:.2f} "
                f"| {cells[2]:.2f} | {cells[3]:.2f} |"
            )
    return rows


def call_ms(url: str) -> float:
    """Time one invocation over a connection of its own."""
    began = time.perf_counter()
    request = urllib.request.Request(url, data=b'{"message":"hello"}', method="POST")
    with urllib.request.urlopen(request, timeout=60) as response:
        response.read()
    return (time.perf_counter() - began) * 1000


def cold(plan: Plan, sandbox: str) -> list[str]:
    """Measure first calls: with a stem ready, and with none."""
    rows = [f"| cold call ({sandbox}) | p50 ms | worst ms |", "|---|---|---|"]
    cases: list[tuple[str, tuple[str, ...], Callable[[], None]]] = [
        ("a stem ready", ("--stems", "1"), lambda: time.sleep(2.0)),
        ("no stem", ("--stems", "0"), lambda: None),
    ]
    for name, options, settle in cases:
        with served.platform("--sandbox", sandbox, *options) as platform:
            for n in range(plan.cold_runs + 1):
                platform.deploy(f"cold-{n}")
            call_ms(platform.invoke_url("cold-0"))  # the runtime is in use from here on
            times = []
            for n in range(1, plan.cold_runs + 1):
                settle()
                times.append(call_ms(platform.invoke_url(f"cold-{n}")))
            rows.append(f"| {name} | {statistics.median(times):.0f} | {max(times):.0f} |")
    return rows


def at_rest(plan: Plan, sandbox: str) -> list[str]:
    """Measure what deployed functions cost that nobody calls."""
    with served.platform("--sandbox", sandbox, "--stem-idle-timeout-s", "2", "--idle-timeout-s", "2") as platform:
        client, package = platform.client(), served.packaged()
        for n in range(plan.functions_at_rest):
            client.create_function(
                FunctionName=f"rest-{n:05d}",
                Runtime="python3.13",
                Role="arn:aws:iam::000000000000:role/bench",
                Handler="app.handler",
                Code={"ZipFile": package},
            )
        client.get_waiter("function_active_v2").wait(FunctionName=f"rest-{plan.functions_at_rest - 1:05d}")
        call_ms(platform.invoke_url("rest-00000"))
        time.sleep(plan.settle_s)
        with urllib.request.urlopen(f"{platform.endpoint}/_lambent/environments", timeout=10) as response:
            environments = len(json.loads(response.read()))
        memory = platform.rss_mb()
    return [
        f"| at rest with {plan.functions_at_rest} functions ({sandbox}) | |",
        "|---|---|",
        f"| environments and stems | {environments} |",
        f"| all roles together | {sum(memory.values()):.0f} MB in {len(memory)} processes |",
    ]


def main() -> None:
    """Run the plan and print, or write, the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_const", dest="plan", const="quick", default="full")
    parser.add_argument("--smoke", action="store_const", dest="plan", const="smoke")
    parser.add_argument("--sandbox", choices=("docker", "process"), default="docker")
    args = parser.parse_args()
    plan = PLANS[args.plan]
    sections = [measure(plan, args.sandbox) for measure in (warm, routed, cold, at_rest)]
    sections.append(events(plan.events, args.sandbox))
    sections.append(compare(plan.simulation))
    text = "\n\n".join("\n".join(rows) for rows in sections)
    print(text)
    if args.plan == "full":
        target = HERE / "RESULTS.md"
        target.write_text(
            "# Results\n\n"
            f"Written by `make bench` ({plan.runs} runs each, medians) on {os.cpu_count()} cores, "
            f"{machine.system()} {machine.machine()}, Python {machine.python_version()}; the load generator runs on "
            "the same cores. Only ratios within one run mean anything on another machine.\n\n"
            f"{text}\n"
        )


if __name__ == "__main__":
    main()
