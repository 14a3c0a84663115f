"""`lambent deploy` of SAM templates, as a command against a running platform; boto3 looks at what came of it."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lambent.connection import Connection
from lambent.errors import DeployFailed
from lambent.services import Services
from lambent.template.deploying import StackDeployment, StackRemoval
from lambent.template.stack import Environment, load_stack
from lambent.transport import Transport

TEMPLATE = """
Transform: AWS::Serverless-2016-10-31
Globals:
  Function:
    Runtime: RUNTIME
    Handler: app.handler
Parameters:
  Level: {Type: String, Default: info}
  Secret: {Type: String, Default: hush-hush, NoEcho: true}
Resources:
  Site:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: site
      Environment: {Variables: {LEVEL: !Ref Level, SECRET: !Ref Secret, OTHER: !GetAtt Other.Arn}}
      AutoPublishAlias: live
      FunctionUrlConfig: {AuthType: NONE, Cors: {AllowOrigins: ["*"]}}
      Policies: [AWSLambdaBasicExecutionRole]
      Events:
        Show: {Type: HttpApi, Properties: {Path: "/things/{id}", Method: get}}
        Old: {Type: Api, Properties: {Path: /old, Method: any}}
  Other:
    Type: AWS::Serverless::Function
    Properties:
      InlineCode: "def handler(event, context): return 1"
      Handler: index.handler
      Tags: {team: a}
      EventInvokeConfig: {MaximumRetryAttempts: 1}
      ReservedConcurrentExecutions: 3
Outputs:
  Url: {Value: !GetAtt ServerlessHttpApi.ApiEndpoint}
  Api: {Value: !Ref ServerlessHttpApi}
  Rest: {Value: !Ref ServerlessRestApi}
  FunctionUrl: {Value: !GetAtt SiteUrl.FunctionUrl}
  Role: {Value: !GetAtt SiteRole.Arn}
  Version: {Value: !Ref Site.Version}
"""
SITE = """
import json, os

def handler(event, context):
    seen = {"level": os.environ["LEVEL"], "payload": event.get("version"), "id": (event.get("pathParameters") or {})}
    return {"statusCode": 200, "body": json.dumps(seen | {"function": context.invoked_function_arn})}
"""


class Application:
    """A template in a folder, with a stack name of its own."""

    def __init__(self, folder: Path, lambent: Any, runtime: str, text: str = TEMPLATE) -> None:
        self.folder = folder
        self.file = folder / "template.yaml"
        self.stack = f"t{os.urandom(4).hex()}"
        self._lambent = lambent
        self._runtime = runtime
        self.write(text)
        (folder / "site").mkdir()
        (folder / "site" / "app.py").write_text(SITE)

    def write(self, text: str) -> None:
        """Write another template."""
        self.file.write_text(text.replace("RUNTIME", self._runtime))

    def deploy(self, *more: str, status: int = 0) -> tuple[str, str]:
        """Deploy it; returns what was said on standard output and on standard error."""
        arguments = ("deploy", str(self.folder), "--stack", self.stack, *more)
        done = self._lambent(*arguments, status=status)
        return done.stdout.decode(), done.stderr.decode()

    def outputs(self, *more: str) -> dict[str, str]:
        """Deploy it, and return its outputs alone."""
        found: dict[str, str] = json.loads(self.deploy("--yes", "--json", *more)[0])
        return found

    def destroy(self) -> str:
        """Remove it; what was said on standard output."""
        return str(self._lambent("destroy", self.stack, "--yes").stdout.decode())


@pytest.fixture
def application(tmp_path: Path, lambent: Any, runtime: str) -> Iterator[Application]:
    """An application that is gone afterwards."""
    found = Application(tmp_path, lambent, runtime)
    yield found
    lambent("destroy", found.stack, "--yes", status=0 if _there(lambent, found.stack) else 3)


def _there(lambent: Any, stack: str) -> bool:
    return stack in [each["name"] for each in json.loads(lambent("stacks", "--json").stdout)]


def get(endpoint: str, api: str, path: str) -> Any:
    """Call an API by its host."""
    port = endpoint.rpartition(":")[2]
    request = urllib.request.Request(endpoint + path, headers={"Host": f"{api}.execute-api.us-east-1.localhost:{port}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def test_the_life_of_a_stack(application: Application, platform: Any, endpoint: str) -> None:
    """Planned, made, unchanged, changed, and gone: each is what the plan said, and what boto3 sees."""
    functions = platform.client("lambda")
    site, other = f"{application.stack}-Site", f"{application.stack}-Other"
    planned, _ = application.deploy("--plan")
    assert "Plan: 13 to create, 0 to change, 0 to replace, 0 to delete, 0 unchanged." in planned
    assert "note: Site.Policies: accepted, not enforced" in planned
    assert "note: ServerlessRestApi: served by an HTTP API with payload format 1.0" in planned
    with pytest.raises(functions.exceptions.ResourceNotFoundException):
        functions.get_function(FunctionName=site)

    outputs = application.outputs()
    made = functions.get_function(FunctionName=site)
    assert made["Configuration"]["Environment"]["Variables"] == {
        "LEVEL": "info",
        "SECRET": "hush-hush",
        "OTHER": functions.get_function_configuration(FunctionName=other)["FunctionArn"],
    }
    assert made["Tags"] == {"lambent:stack": application.stack, "lambent:logical-id": "Site"}
    assert functions.get_function_concurrency(FunctionName=other)["ReservedConcurrentExecutions"] == 3
    assert functions.get_function_event_invoke_config(FunctionName=other)["MaximumRetryAttempts"] == 1
    assert (
        functions.get_function_url_config(FunctionName=site, Qualifier="live")["FunctionUrl"] == outputs["FunctionUrl"]
    )
    assert outputs["Version"].endswith(f"{site}:1")
    assert outputs["Role"] == f"arn:aws:iam::000000000000:role/{application.stack}-SiteRole"
    seen = get(endpoint, outputs["Api"], "/things/7")
    assert (seen["level"], seen["payload"], seen["id"]) == ("info", "2.0", {"id": "7"})
    assert seen["function"].endswith(f"{site}:live")
    assert get(endpoint, outputs["Rest"], "/Prod/old")["payload"] == "1.0"

    said, _ = application.deploy()
    assert "No changes: 13 as they should be." in said

    application.write(application.file.read_text().replace("team: a", "team: b").replace("/things/{id}", "/t/{id}"))
    said, errors = application.deploy("--yes", "-p", "Level=debug", "-p", "Secret=other-secret")
    assert "Environment.LEVEL: info → debug" in said
    assert "Tags.team: a → b" in said
    assert "RouteKey: GET /things/{id} → GET /t/{id}" in said
    assert "other-secret" not in said + errors
    assert "Plan: 0 to create, 4 to change, 0 to replace, 0 to delete, 9 unchanged." in said
    assert get(endpoint, outputs["Api"], "/t/7")["level"] == "debug"
    with pytest.raises(urllib.error.HTTPError):
        get(endpoint, outputs["Api"], "/things/7")
    assert functions.get_alias(FunctionName=site, Name="live")["FunctionVersion"] == "2"

    assert "13 to delete" in application.destroy()
    for name in (site, other):
        with pytest.raises(functions.exceptions.ResourceNotFoundException):
            functions.get_function(FunctionName=name)
    apis = platform.client("apigatewayv2").get_apis()["Items"]
    assert not [each for each in apis if each.get("Tags", {}).get("lambent:stack") == application.stack]


def test_code_that_changes_is_deployed_and_published(application: Application, platform: Any, endpoint: str) -> None:
    """Only the function and its alias change; a file that is no code changes nothing."""
    outputs = application.outputs()
    (application.folder / "samconfig.toml").write_text("version = 0.1\n")
    assert "No changes" in application.deploy()[0]
    code = application.folder / "site" / "app.py"
    code.write_text(code.read_text().replace('"level"', '"lvl"'))
    said, _ = application.deploy("--yes")
    assert "Plan: 0 to create, 2 to change, 0 to replace, 0 to delete, 11 unchanged." in said
    assert "lvl" in get(endpoint, outputs["Api"], "/things/7")


def test_what_the_template_has_no_longer_goes(application: Application, platform: Any) -> None:
    """A function, its settings, and an event's route go; the rest stays."""
    application.outputs()
    text = application.file.read_text()
    cut = text[: text.index("  Other:")] + text[text.index("Outputs:") :]
    cut = cut.replace(", OTHER: !GetAtt Other.Arn", "").replace(
        "        Old: {Type: Api, Properties: {Path: /old, Method: any}}\n", ""
    )
    application.write(cut.replace("  Rest: {Value: !Ref ServerlessRestApi}\n", ""))
    said, _ = application.deploy("--yes")
    assert "Environment.OTHER: arn:aws:lambda" in said
    assert "Plan: 0 to create, 2 to change, 0 to replace, 6 to delete, 5 unchanged." in said
    functions = platform.client("lambda")
    with pytest.raises(functions.exceptions.ResourceNotFoundException):
        functions.get_function(FunctionName=f"{application.stack}-Other")
    assert "No changes" in application.deploy()[0]


def test_another_name_makes_another_function(application: Application, platform: Any) -> None:
    """What cannot be renamed is replaced, with all that belongs to it; the old one is gone."""
    application.outputs()
    name = f"named-{application.stack}"
    application.write(
        application.file.read_text().replace("CodeUri: site", f"CodeUri: site\n      FunctionName: {name}")
    )
    said, _ = application.deploy("--yes")
    assert f"FunctionName: {application.stack}-Site → {name}" in said
    functions = platform.client("lambda")
    assert functions.get_alias(FunctionName=name, Name="live")["FunctionVersion"] == "1"
    with pytest.raises(functions.exceptions.ResourceNotFoundException):
        functions.get_function(FunctionName=f"{application.stack}-Site")
    assert "No changes" in application.deploy()[0]


def test_another_logical_id_keeps_the_resource(application: Application, platform: Any) -> None:
    """An event that is only called otherwise keeps its route; it is neither made again nor removed."""
    api = application.outputs()["Api"]
    before = platform.client("apigatewayv2").get_routes(ApiId=api)["Items"]
    application.write(application.file.read_text().replace("        Show:", "        Look:"))
    said, _ = application.deploy("--yes")
    assert "0 to replace" in said
    after = platform.client("apigatewayv2").get_routes(ApiId=api)["Items"]
    assert [each["RouteId"] for each in after] == [each["RouteId"] for each in before]
    assert "No changes" in application.deploy()[0]


def test_what_others_made_is_not_taken(application: Application, platform: Any, runtime: str) -> None:
    """A function of the same name stops the plan, before anything is made; --adopt takes it over."""
    name = f"mine-{application.stack}"
    platform.deploy("def handler(event, context): return 'mine'", name=name)
    application.write(
        application.file.read_text().replace("CodeUri: site", f"CodeUri: site\n      FunctionName: {name}")
    )
    _, errors = application.deploy("--yes", status=1)
    assert errors.startswith(f"lambent: Site: AWS::Lambda::Function {name} is there already, and this stack did not")
    assert errors.count("\n") == 1
    assert platform.call(name) == "mine"
    application.outputs("--adopt")
    assert json.loads(platform.call(name, {})["body"])["level"] == "info"


def test_a_failure_in_the_middle_is_gone_on_from(application: Application, platform: Any) -> None:
    """What was made before it stays and is known; the next deployment makes the rest, and nothing twice."""
    text = application.file.read_text()
    application.write(text.replace("      CodeUri: site\n", "      CodeUri: site\n      Timeout: 5000\n"))
    said, errors = application.deploy("--yes", status=3)
    assert "Other created" in errors
    assert "It stopped: what was done is kept" in errors
    assert errors.splitlines()[-1].startswith("lambent: ValidationException: ")
    application.write(text)
    said, _ = application.deploy("--yes")
    assert "The last deployment of this stack did not come to its end; this one goes on from there." in said
    assert " to create, 0 to change, 0 to replace, 0 to delete" in said
    assert "No changes: 13 as they should be." in application.deploy()[0]


def test_a_deployment_that_is_killed_is_gone_on_from(
    application: Application, platform: Any, environment: dict[str, str]
) -> None:
    """Killed with -9 wherever it is, again and again: the end is one of each, and all of them known."""
    command = [sys.executable, "-m", "lambent.cli.main", "deploy", str(application.folder), "--stack"]
    for lines in range(1, 9):
        running = subprocess.Popen(
            [*command, application.stack, "--yes"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment
        )
        assert running.stderr is not None
        seen = 0
        while seen < lines % 4 + 1 and (line := running.stderr.readline()):
            seen += b" created" in line
        running.kill()
        running.wait()
        running.stderr.close()
    application.outputs()
    assert "No changes: 13 as they should be." in application.deploy()[0]
    gateway = platform.client("apigatewayv2")
    apis = [
        each for each in gateway.get_apis()["Items"] if each.get("Tags", {}).get("lambent:stack") == application.stack
    ]
    assert sorted(each["Tags"]["lambent:logical-id"] for each in apis) == ["ServerlessHttpApi", "ServerlessRestApi"]
    for each in apis:
        assert len(gateway.get_routes(ApiId=each["ApiId"])["Items"]) == 1
        assert len(gateway.get_integrations(ApiId=each["ApiId"])["Items"]) == 1


def test_two_deployments_at_once_are_not_mixed(application: Application, environment: dict[str, str]) -> None:
    """One of them comes to its end or is told of the other; the next finds everything as it should be."""
    command = [
        sys.executable,
        "-m",
        "lambent.cli.main",
        "deploy",
        str(application.folder),
        "--stack",
        application.stack,
    ]
    both = [
        subprocess.Popen(
            [*command, "--yes"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True
        )
        for _ in range(2)
    ]
    ended = [process.communicate(timeout=90) for process in both]
    assert all("Traceback" not in errors for _, errors in ended)
    application.outputs()
    assert "No changes: 13 as they should be." in application.deploy()[0]


def test_an_older_plan_touches_nothing(tmp_path: Path, lambent: Any, platform: Any, endpoint: str) -> None:
    """Who planned before somebody else deployed is told so before anything is changed; so is who would remove it."""
    stack = f"t{os.urandom(4).hex()}"
    text = "Resources: {Q: {Type: AWS::SQS::Queue, Properties: {DelaySeconds: %d}}}"

    async def race() -> None:
        async with Transport(Connection(endpoint)) as transport:
            services = Services(transport)
            environment = Environment(stack, await services.account(), services.region)

            def deployment(delay_s: int) -> StackDeployment:
                (tmp_path / "template.json").write_text(text % delay_s)
                return StackDeployment(services, load_stack(tmp_path / "template.json", environment))

            first = deployment(1)
            await first.apply(await first.plan())
            one, other, removal = deployment(2), deployment(3), StackRemoval(services, environment)
            plans = [await one.plan(), await other.plan()]
            await removal.plan()
            await one.apply(plans[0])
            with pytest.raises(DeployFailed, match="somebody else is deploying the stack"):
                await other.apply(plans[1])
            with pytest.raises(DeployFailed, match="somebody else is deploying the stack"):
                await removal.apply()

    asyncio.run(race())
    queues = platform.client("sqs")
    url = queues.get_queue_url(QueueName=f"{stack}-Q")["QueueUrl"]
    found = queues.get_queue_attributes(QueueUrl=url, AttributeNames=["DelaySeconds"])
    assert found["Attributes"] == {"DelaySeconds": "2"}
    # A folder with a template.json is one, too.
    (tmp_path / "template.json").write_text(text % 2)
    assert b"1 as they should be" in lambent("deploy", str(tmp_path), "--stack", stack, "--plan").stdout
    lambent("destroy", stack, "--yes")


def test_rules_with_patterns(application: Application, platform: Any) -> None:
    """A rule and a function's event match what is put on the bus; a pattern that changes is put again."""
    application.write(
        """
Transform: AWS::Serverless-2016-10-31
Resources:
  Q: {Type: AWS::SQS::Queue}
  Rule:
    Type: AWS::Events::Rule
    Properties:
      EventPattern: {source: [!Ref AWS::StackName]}
      Targets: [{Id: q, Arn: !GetAtt Q.Arn, InputPath: $.detail}]
  F:
    Type: AWS::Serverless::Function
    Properties:
      Runtime: RUNTIME
      Handler: index.handler
      InlineCode: "def handler(event, context): return 1"
      Events:
        Orders: {Type: EventBridgeRule, Properties: {Pattern: {source: [other]}, Target: {Id: mine}}}
"""
    )
    application.deploy("--yes")
    assert "No changes: 4 as they should be." in application.deploy()[0]
    events, queues = platform.client("events"), platform.client("sqs")
    rule = events.describe_rule(Name=f"{application.stack}-FOrders")
    assert json.loads(rule["EventPattern"]) == {"source": ["other"]}
    assert [each["Id"] for each in events.list_targets_by_rule(Rule=rule["Name"])["Targets"]] == ["mine"]
    url = queues.get_queue_url(QueueName=f"{application.stack}-Q")["QueueUrl"]

    def sent(source: str) -> str:
        events.put_events(Entries=[{"Source": source, "DetailType": "t", "Detail": json.dumps({"from": source})}])
        got = queues.receive_message(QueueUrl=url, WaitTimeSeconds=10)["Messages"][0]
        queues.delete_message(QueueUrl=url, ReceiptHandle=got["ReceiptHandle"])
        return str(json.loads(got["Body"])["from"])

    assert sent(application.stack) == application.stack
    application.write(application.file.read_text().replace("[!Ref AWS::StackName]", f"[next-{application.stack}]"))
    assert "EventPattern: " in application.deploy("--yes")[0]
    assert sent(f"next-{application.stack}") == f"next-{application.stack}"


def test_it_asks_on_a_terminal(application: Application, environment: dict[str, str]) -> None:
    """No is no; without a terminal it says what is missing, and yes goes on."""
    _, errors = application.deploy(status=2)
    assert "pass --yes to go on, or --plan to only look" in errors
    for answer, said in ((b"n\n", b"Nothing was changed."), (b"y\n", b"is deployed")):
        seen = _on_terminal(
            [sys.executable, "-m", "lambent.cli.main", "deploy", str(application.folder), "--stack", application.stack],
            environment,
            answer,
        )
        assert b"Deploy it? [y/N]" in seen
        assert said in seen
    assert "No changes" in application.deploy()[0]


def _on_terminal(command: list[str], environment: dict[str, str], answer: bytes) -> bytes:
    """Run a command on a terminal, answer its question, and return what it showed."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, close_fds=True)
    os.close(theirs)
    shown = b""
    deadline = time.monotonic() + 90
    try:
        while time.monotonic() < deadline:
            try:
                part = os.read(ours, 4096)
            except OSError:
                break
            if not part:
                break
            shown += part
            if b"[y/N]" in shown and answer:
                os.write(ours, answer)
                answer = b""
    finally:
        os.close(ours)
        process.kill()
        process.wait()
    return shown


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("CodeUri: site", "CodeUri: nowhere"), "nowhere is not a folder"),
        (("CodeUri: site", "CodeUri: s3://bucket/key"), "Site: s3://bucket/key is not served here"),
        (("CodeUri: site", "CodeUri: site\n      Layers: [a]"), "Site.Properties.Layers: layers are not served here"),
        (("Type: HttpApi", "Type: SNS"), "Site.Properties.Events.Show.Type: topics are not served here"),
        (("!Ref Level", "!Ref Levl"), "Site: refers to Levl, and there is no such parameter or resource"),
        (("Resources:", "Resourcen:"), "Resourcen: is not a section"),
    ],
)
def test_mistakes_are_one_line_and_change_nothing(application: Application, change: tuple[str, str], said: str) -> None:
    """With the file, the line, the resource and the property; nothing was made, and no stack is there."""
    application.write(application.file.read_text().replace(*change))
    out, errors = application.deploy("--yes", status=2)
    assert out == ""
    assert errors.startswith("lambent: ")
    assert said in errors
    assert errors.count("\n") == 1


def test_stacks_are_listed(application: Application, lambent: Any) -> None:
    """With their resources and their outputs; what is not there is said as for functions."""
    outputs = application.outputs()
    (row,) = (each for each in json.loads(lambent("stacks", "--json").stdout) if each["name"] == application.stack)
    assert row == {"name": application.stack, "resources": 13, "complete": True}
    assert any(line.split()[:2] == [application.stack, "13"] for line in lambent("stacks").stdout.decode().splitlines())
    whole = json.loads(lambent("stacks", application.stack, "--json").stdout)
    assert whole["outputs"] == outputs
    assert {each["type"] for each in whole["resources"]} >= {"AWS::Lambda::Function", "AWS::ApiGatewayV2::Route"}
    for arguments in (("stacks", "absent"), ("destroy", "absent", "--yes")):
        said = lambent(*arguments, status=3).stderr.decode()
        assert said == "lambent: ResourceNotFoundException: Stack not found: absent\n"


def test_lambent_toml_counts_more(application: Application, lambent: Any, runtime: str) -> None:
    """Where both are there the function is deployed, which is said; the template is deployed by naming it."""
    name = f"toml-{application.stack}"
    (application.folder / "lambent.toml").write_text(
        f'name = "{name}"\nruntime = "{runtime}"\nhandler = "site.app.handler"\n'
    )
    done = lambent("deploy", str(application.folder))
    assert f"{application.folder / 'lambent.toml'} counts here" in done.stderr.decode()
    assert name in [each["name"] for each in json.loads(lambent("ls", "--json").stdout)]
    lambent("rm", name)
    planned = lambent("deploy", str(application.file), "--stack", application.stack, "--plan").stdout.decode()
    assert "Plan: 13 to create" in planned


def test_the_example_of_an_application(lambent: Any, platform: Any, runtime: str) -> None:
    """`orders` as it is: placed over HTTP, worked on in batches, one failing for good, scheduled; then gone."""
    stack = f"orders-{os.urandom(3).hex()}"
    folder = str(Path(__file__).parents[2] / "examples" / "orders")
    given = ("--stack", stack, "-p", f"Runtime={runtime}", "-p", "Stage=test")
    outputs = json.loads(lambent("deploy", folder, *given, "--yes", "--json").stdout)
    assert "No changes" in lambent("deploy", folder, *given).stdout.decode()
    api = outputs["Url"].partition("://")[2].partition(".")[0]
    placed = {}
    for item in ("tea", "unobtainium", "cake"):
        request = urllib.request.Request(
            f"{platform.endpoint}/_api/{api}/orders", data=json.dumps({"item": item}).encode()
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            placed[item] = json.load(answer)["id"]
    client = platform.client("sqs")
    dead = client.get_queue_url(QueueName=outputs["DeadLetters"])["QueueUrl"]
    received = client.receive_message(QueueUrl=dead, WaitTimeSeconds=20).get("Messages", [])
    assert [json.loads(each["Body"])["id"] for each in received] == [placed["unobtainium"]]
    log = lambent("logs", outputs["Worker"], "--since", "5m").stdout.decode()
    assert [log.count(f"order {placed[item]} shipped") for item in ("tea", "cake")] == [1, 1]
    assert log.count(f"order {placed['unobtainium']} failed") == 2
    schedule = platform.client("scheduler").get_schedule(Name=f"{stack}-ReportNightly")
    assert (schedule["ScheduleExpressionTimezone"], schedule["State"]) == ("Europe/Berlin", "ENABLED")
    assert platform.call(outputs["Report"], {}) == {"failed": 0}
    said = lambent("deploy", folder, "--stack", stack, "-p", f"Runtime={runtime}", "-p", "Stage=prod", "--plan")
    assert "MemorySize: 128 → 512" in said.stdout.decode()
    assert "RedrivePolicy.maxReceiveCount: 2 → 5" in said.stdout.decode()
    lambent("destroy", stack, "--yes")
    assert not client.list_queues(QueueNamePrefix=stack).get("QueueUrls")
    assert not platform.client("lambda").list_event_source_mappings(FunctionName=outputs["Worker"])[
        "EventSourceMappings"
    ]
