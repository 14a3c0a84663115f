"""AWS's own runtime client for Node.js, unmodified, in a container of a real worker, on its Runtime API.

The client is compiled when it is installed (an HTTP client in C++ under it), which takes minutes: once, in an image of
the shape of AWS's own, with an entry script that takes the handler. The image stays with the engine, like the
platform's own images.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import BuildError, ImageNotFound

from lambent_platform.contracts.limits import STREAM_WINDOW_BYTES
from lambent_platform.contracts.runtimes import RUNTIMES
from lambent_platform.core.images import ImagePlans
from lambent_workers.drivers.docker import DockerDriver, DockerSettings
from lambent_workers.drivers.port import Driver
from lambent_workers.images import runtimes_dir

pytestmark = [
    pytest.mark.docker,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not os.environ.get("LAMBENT_TEST_ALL"),
        reason="compiling aws-lambda-ric takes minutes; LAMBENT_TEST_ALL is not set (make test-all sets it)",
    ),
]

RUNTIME = RUNTIMES["nodejs20.x"]
IMAGE = {
    "Dockerfile": """\
FROM node:20-slim AS compiled
RUN apt-get update && apt-get install -y --no-install-recommends \
g++ make cmake autoconf automake libtool python3 python3-setuptools curl ca-certificates
WORKDIR /var/runtime
RUN export npm_config_nodedir="$(dirname "$(dirname "$(readlink -f "$(command -v node)")")")" \\
 && npm install --no-audit --no-fund aws-lambda-ric@3

FROM node:20-slim
COPY --from=compiled /var/runtime /var/runtime
ENV LAMBDA_TASK_ROOT=/var/task LAMBDA_RUNTIME_DIR=/var/runtime
COPY lambda-entrypoint.sh /lambda-entrypoint.sh
WORKDIR /var/task
ENTRYPOINT ["/lambda-entrypoint.sh"]
""",
    "lambda-entrypoint.sh": """\
#!/bin/sh
exec /var/runtime/node_modules/.bin/aws-lambda-ric "$1"
""",
}
SOURCE = """
const late = () => new Promise((resolve) => setTimeout(resolve, 5, "late"));
let calls = 0;
exports.handler = async (event, context) => {
  calls += 1;
  console.log("seen", JSON.stringify(event));
  if (event === "throw") throw new TypeError("bad");
  if (event === "string") throw "only words";
  if (event === "large") return "x".repeat(7000000);
  if (event === "exit") process.exit(3);
  if (event === "hang") return new Promise((resolve) => setTimeout(resolve, 60000));
  return {
    event, calls, late: await late(), id: context.awsRequestId, arn: context.invokedFunctionArn,
    name: context.functionName, version: context.functionVersion, memory: context.memoryLimitInMB,
    left: context.getRemainingTimeInMillis(), custom: context.clientContext?.custom ?? null,
    main: process.argv[1], cwd: process.cwd(), uid: process.getuid(),
  };
};
exports.old = (event, context, callback) => {
  callback(event === "fail" ? new RangeError("far") : null, { old: event });
};
"""


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> ImagePlans:
    """Plans in which the runtime is mapped to the client's image; both images are built where they are not there."""
    mark = hashlib.sha256(repr(IMAGE).encode()).hexdigest()[:12]
    name = f"lambent-test/lambda-nodejs:{mark}"
    folder = tmp_path_factory.mktemp("image")
    for file, text in IMAGE.items():
        (folder / file).write_text(text)
        (folder / file).chmod(0o755)
    found = ImagePlans(runtimes_dir(), {RUNTIME.name: name})
    mapped, tools = found.plan(RUNTIME), found.tools()
    with contextlib.closing(docker.from_env(timeout=900)) as engine:
        try:
            _ensure(engine, name, path=str(folder))
        except BuildError as error:
            if os.environ.get("LAMBENT_TEST_REQUIRE_DOCKER"):
                raise
            pytest.skip(f"aws-lambda-ric cannot be compiled in an image: {error}")
        for plan in (tools, mapped):
            _ensure(
                engine, plan.tag,
                path=str(plan.context_dir), dockerfile=plan.dockerfile, buildargs=dict(plan.buildargs),
            )  # fmt: skip
    return found


def _ensure(engine: Any, name: str, **build: Any) -> None:
    try:
        engine.images.get(name)
    except ImageNotFound:
        engine.images.build(tag=name, rm=True, forcerm=True, **build)


@pytest.fixture
async def node(make: Callable[..., Any], plans: ImagePlans) -> AsyncIterator[Any]:
    """A worker whose containers are of that image, and one `deploy` that fits."""

    def driver_of(platform_id: str, folder: Path) -> Driver:
        settings = DockerSettings(platform_id=f"test-{platform_id}".lower(), gateway_address=("127.0.0.1", 1))
        return DockerDriver(settings, plans)

    async with make(driver_of=driver_of) as bench:
        yield bench


async def deploy(bench: Any, source: str = SOURCE, handler: str = "index.handler", **fields: Any) -> Any:
    """Deploy a module."""
    sizes = {"memory_mb": 512, "timeout_s": 10, **fields}
    return await bench.deploy(files={"index.js": source}, runtime=RUNTIME.name, handler=handler, **sizes)


async def test_results_and_context(node: Any) -> None:
    """The client has the event and Lambda's context, twice in one process; what it prints is in the log."""
    version = await deploy(node)
    for number in (1, 2):
        seen = await node.call(version, {"ü": number}, client_context='{"custom": {"k": "v"}}')
        assert (seen["event"], seen["calls"], seen["late"]) == ({"ü": number}, number, "late")
        assert (seen["name"], seen["version"], int(seen["memory"])) == (version.name, "$LATEST", 512)
        assert seen["arn"] == version.ref.qualified_arn
        assert (seen["custom"], seen["cwd"], seen["uid"] != 0) == ({"k": "v"}, "/var/task", True)
        assert 5_000 < seen["left"] <= 10_000
        assert seen["main"] == "/var/runtime/node_modules/.bin/aws-lambda-ric"
    await node.lines('seen {"ü":2}', f"REPORT RequestId: {seen['id']}")


async def test_errors_are_the_clients_own(node: Any) -> None:
    """Thrown errors and callbacks come as the client words them, and the process goes on after each."""
    version = await deploy(node)
    failed = await node.fail(version, "throw")
    assert (failed["errorType"], failed["errorMessage"]) == ("TypeError", "bad")
    assert any("index.js" in line for line in failed["trace"])
    assert (await node.fail(version, "string"))["errorMessage"] == "only words"
    assert (await node.call(version, "on"))["calls"] == 3
    old = await deploy(node, handler="index.old")
    assert await node.call(old, 1) == {"old": 1}
    assert (await node.fail(old, "fail"))["errorType"] == "RangeError"


async def test_ends(node: Any) -> None:
    """A result over the limit, an exit in mid-call and a call without end have Lambda's errors; the next call runs."""
    version = await deploy(node)
    assert (await node.fail(version, "large"))["errorType"] == "Function.ResponseSizeTooLarge"
    assert (await node.fail(version, "exit"))["errorType"] == "Runtime.ExitError"
    hasty = await deploy(node, timeout_s=1)
    assert "timed out" in (await node.fail(hasty, "hang"))["errorMessage"]
    assert (await node.call(version, "on"))["event"] == "on"


async def test_init_errors(node: Any) -> None:
    """A module that throws and a handler that is not there are reported by the client before any call."""
    broken = await deploy(node, source="require('absent');")
    assert "absent" in (await node.fail(broken))["errorMessage"]
    missing = await deploy(node, handler="index.absent")
    assert (await node.fail(missing))["errorType"] == "Runtime.HandlerNotFound"


STREAMS = """
exports.handler = awslambda.streamifyResponse(async (event, stream) => {
  stream = awslambda.HttpResponseStream.from(stream, { statusCode: 201 });
  for (let n = 0; n < 3; n++) {
    stream.write(`part ${n};`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  if (event === "throw") throw new RangeError("late");
  if (event === "large") for (let n = 0; n < 100; n++) {
    if (!stream.write("x".repeat(60000))) await new Promise((resolve) => stream.once("drain", resolve));
  }
  stream.end();
});
"""


async def test_streams(node: Any) -> None:
    """What the client streams comes while it runs; its errors come in trailers, and a slow reader holds it up."""
    version = await deploy(node, source=STREAMS)
    whole = b'{"statusCode":201}' + bytes(8) + b"part 0;part 1;part 2;"
    async with node.stream(version, "on") as found:
        times = []
        data = b""
        async for part in found:
            times.append(asyncio.get_running_loop().time())
            data += part
        assert (data, found.content_type) == (whole, "application/vnd.awslambda.http-integration-response")
        assert times[-1] - times[0] > 0.3
    data, end = await node.read(version, "throw")
    error = json.loads(end.payload)
    assert (data, error["errorType"], error["errorMessage"]) == (whole, "RangeError", "late")
    async with node.stream(version, "large") as found:
        await asyncio.sleep(1.5)
        assert found._received <= STREAM_WINDOW_BYTES
        data = b"".join([part async for part in found])
        assert found.end is not None
        assert (found.end.function_error, len(data)) == ("", len(whole) + 6_000_000)
    assert (await node.invoke(version, "on")).payload == whole
