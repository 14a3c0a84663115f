"""Templates as stacks: functions resolved, SAM expanded, order found, mistakes named with resource and line."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from lambent.errors import SpecError
from lambent.template.stack import Environment, Stack, load_stack
from lambent.template.values import Place, Unknown, plain

ENVIRONMENT = Environment("shop", "000000000000", "eu-west-1")
FUNCTION = "{Type: AWS::Serverless::Function, Properties: {CodeUri: src, Handler: a.b, Runtime: python3.13}}"


def load(tmp_path: Path, text: str, **parameters: str) -> Stack:
    """Load a template's text."""
    file = tmp_path / "template.yaml"
    file.write_text(text)
    return load_stack(file, ENVIRONMENT, parameters)


def named(logical_id: str, attribute: str | None) -> Any:
    """Attributes of resources that are made, as texts that say which they are."""
    return f"<{logical_id}{'.' + attribute if attribute else ''}>"


def properties(stack: Stack, logical_id: str) -> Any:
    """A resource's properties with everything resolved."""
    (resource,) = (each for each in stack.resources if each.logical_id == logical_id)
    return plain(stack.evaluate(resource.properties, Place(logical_id), named))


def evaluated(tmp_path: Path, value: str, sections: str = "", **parameters: str) -> Any:
    """What an environment variable with this value gets."""
    text = (
        f"{sections}\nResources:\n  Q: {{Type: AWS::SQS::Queue}}\n  F:\n    Type: AWS::Serverless::Function\n"
        "    Properties:\n      CodeUri: src\n      Handler: a.b\n      Runtime: python3.13\n"
        f"      Environment:\n        Variables:\n          A: {value}\n"
    )
    return properties(load(tmp_path, text, **parameters), "F").get("Environment", {}).get("Variables", {}).get("A")


PARAMETERS = """
Parameters:
  Stage: {Type: String, Default: dev, AllowedValues: [dev, prod]}
  Names: {Type: CommaDelimitedList, Default: "a, b"}
  Count: {Type: Number, Default: 3, MinValue: 1, MaxValue: 9}
Conditions:
  IsProd: !Equals [!Ref Stage, prod]
  IsDev: !Not [!Condition IsProd]
  Either: !Or [!Condition IsProd, {Condition: IsDev}]
  Both: !And [!Condition IsProd, !Condition IsDev]
Mappings:
  Sizes:
    dev: {memory: 128, url: http://dev}
    prod: {memory: 1024}
"""


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("!Ref Stage", "dev"),
        ("!Ref Count", "3"),
        ("!Ref AWS::Region", "eu-west-1"),
        (
            "!Sub '${AWS::AccountId}/${AWS::StackName}/${AWS::Partition}/${AWS::URLSuffix}'",
            "000000000000/shop/aws/amazonaws.com",
        ),
        ("!Sub '${!Stage} $Stage ${Stage}'", "${Stage} $Stage dev"),
        ("!Sub ['${X}-${Stage}', {X: !Ref Count}]", "3-dev"),
        ("!Sub '${Q}|${Q.Arn}|${Stage}'", "<Q>|<Q.Arn>|dev"),
        ("!Ref Q", "<Q>"),
        ("!GetAtt Q.Arn", "<Q.Arn>"),
        ("!Join ['-', !Ref Names]", "a-b"),
        ("!Join ['/', [x, !Ref Stage, !GetAtt Q.QueueName]]", "x/dev/<Q.QueueName>"),
        ("!Select [1, !Ref Names]", "b"),
        ("!Select ['1', !Split ['.', !GetAtt Q.Arn]]", "Arn>"),
        ("!If [IsProd, p, !If [IsDev, !Ref Q, x]]", "<Q>"),
        ("!If [Either, yes-it-is, no]", "yes-it-is"),
        ("!If [Both, 1, 2]", "2"),
        ("!FindInMap [Sizes, !Ref Stage, url]", "http://dev"),
        ("!FindInMap [Sizes, nope, url, {DefaultValue: d}]", "d"),
        ("{'Fn::Base64': !Sub '${Stage}'}", "ZGV2"),
        ("!If [IsDev, !Ref 'AWS::NoValue', x]", None),
        ("true", "true"),
        ("1.10", "1.10"),
    ],
)
def test_functions_are_resolved(tmp_path: Path, value: str, expected: Any) -> None:
    """Parameters at once; what names a resource when the resource is known."""
    assert evaluated(tmp_path, value, PARAMETERS) == expected


def test_what_is_not_known_yet_makes_what_is_made_of_it_unknown(tmp_path: Path) -> None:
    """Before a queue is made, everything that mentions its URL is unknown, whatever the function."""
    values = ("!Ref Q", "!Sub 'x ${Q}'", "!Select [2, !Split ['/', !Ref Q]]", "!Join [',', [a, !GetAtt Q.Arn]]")
    text = "".join(f"          V{n}: {value}\n" for n, value in enumerate(values))
    stack = load(
        tmp_path,
        "Resources:\n  Q: {Type: AWS::SQS::Queue}\n  F:\n    Type: AWS::Serverless::Function\n    Properties:\n"
        "      CodeUri: src\n      Handler: a.b\n      Runtime: python3.13\n"
        f"      Environment:\n        Variables:\n{text}",
    )
    function = stack.resources[-1]
    found = stack.evaluate(function.properties, Place("F"), lambda *name: Unknown("Q"))
    assert all(isinstance(each, Unknown) for each in found["Environment"]["Variables"].values())


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("!Ref Nope", "F: refers to Nope, and there is no such parameter or resource"),
        ("!GetAtt Q.Url", "Q (AWS::SQS::Queue) has no attribute Url here; it has Arn, QueueName, QueueUrl"),
        ("!Sub '${Q.Nope}'", "has no attribute Nope"),
        ("!Ref AWS::Nope", "there is no pseudo parameter AWS::Nope"),
        ("!ImportValue other", "values of other stacks are not served here"),
        ("!GetAZs ''", "there are no availability zones here"),
        ("!Select [7, [a]]", "there is no item 7 among 1"),
        ("!Select [a, [a]]", "there is no item 'a'"),
        ("!Join [a]", "Fn::Join takes"),
        ("!Split ['', a]", "Fn::Split takes"),
        ("!If [Nope, a, b]", "there is no condition 'Nope'"),
        ("!FindInMap [Sizes, nope, url]", "there is no Sizes.nope.url in Mappings"),
        ("!FindInMap [Sizes, !Ref Q, url]", "cannot depend on a resource"),
        ("{'Fn::ForEach': [a]}", "Fn::ForEach is not known here"),
        ("'{{resolve:ssm:x}}'", "dynamic references"),
        ("[a]", "must be text, not"),
        ("{a: b}", 'F.Properties.Environment.Variables.A: must be text, not {"a": "b"}'),
    ],
)
def test_wrong_functions_are_named_with_their_line(tmp_path: Path, value: str, said: str) -> None:
    """A reference that leads nowhere is found before anything is deployed."""
    with pytest.raises(SpecError) as caught:
        evaluated(tmp_path, value, PARAMETERS)
    assert said in str(caught.value)
    assert "template.yaml: line 2" in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"Stage": "test"}, "Parameters.Stage: 'test' is not one of the allowed values: dev, prod"),
        ({"Count": "x"}, "'x' is not a number"),
        ({"Count": "10"}, "over the maximum of 9"),
        ({"Nope": "1"}, "has no parameter 'Nope' (it has Stage, Names, Count)"),
    ],
)
def test_parameters_are_checked(tmp_path: Path, given: dict[str, str], said: str) -> None:
    """Values that the declaration does not allow, and names that are not declared."""
    with pytest.raises(SpecError) as caught:
        evaluated(tmp_path, "x", PARAMETERS, **given)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ("Parameters: {P: {Type: String}}", "Parameters.P: has no Default: pass one by --parameter P=VALUE"),
        ("Parameters: {P: {Type: 'AWS::SSM::Parameter::Value<String>', Default: x}}", "is not served here"),
        ("Parameters: {P: {Type: Nope, Default: x}}", "is no type of a parameter"),
        ("Parameters: {P: {Type: String, Default: x, Nope: 1}}", "Parameters.P.Nope: is not known"),
        ("Parameters: {P: {Type: String, Default: x, AllowedPattern: '['}}", "is no regular expression"),
        ("Conditions: {A: !Condition B, B: !Condition A}", "the conditions go in a circle: A → B → A"),
        ("Conditions: {A: !Equals [!Ref Q, x]}", "a condition cannot depend on a resource"),
        ("Conditions: {A: x}", "a condition is one of"),
        ("Globals: {Function: {Nope: 1}}", "Globals.Function.Nope: is not a property that Globals may have"),
        ("Globals: {Table: {}}", "Globals.Table: is not known here; Function, HttpApi, Api are"),
        ("Rules: {}", "Rules: is not a section that is known here"),
        ("Transform: AWS::Include", "AWS::Include is not served here"),
        ("Mappings: []", "Mappings: must be a mapping"),
    ],
)
def test_wrong_sections_are_named(tmp_path: Path, sections: str, said: str) -> None:
    """Nothing of a template is ignored in silence."""
    with pytest.raises(SpecError) as caught:
        evaluated(tmp_path, "x", sections)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("resource", "said"),
    [
        ("{Type: AWS::Serverless::SimpleTable}", "R.Type: AWS::Serverless::SimpleTable is not served here: tables"),
        ("{Type: AWS::S3::Bucket}", "AWS::S3::Bucket is not served here: buckets"),
        ("{Type: AWS::Nope::Nope}", "AWS::Nope::Nope is not served here"),
        ("{Properties: {}}", "R: has no Type"),
        ("{Type: AWS::SQS::Queue, Nope: 1}", "R.Nope: is not an attribute of a resource"),
        ("{Type: AWS::SQS::Queue, Properties: {VisibilityTimout: 3}}", "did you mean VisibilityTimeout?"),
        ("{Type: AWS::SQS::Queue, Properties: {DelaySeconds: soon}}", 'must be a whole number, not "soon"'),
        ("{Type: AWS::SQS::Queue, Properties: {DelaySeconds: }}", "R.Properties.DelaySeconds: has no value"),
        ("{Type: AWS::SQS::Queue, DependsOn: Nope}", "R: refers to Nope"),
        ("{Type: AWS::SQS::Queue, DeletionPolicy: Snapshot}", "Snapshot is not served here"),
        ("{Type: AWS::SQS::Queue, Condition: Nope}", "there is no condition 'Nope'"),
        (
            "{Type: AWS::Lambda::EventSourceMapping, Properties: {FunctionName: x}}",
            "R.Properties: has no EventSourceArn",
        ),
        (
            "{Type: AWS::Events::Rule, Properties: {EventPattern: {a: [b]}, EventBusName: mine}}",
            "event buses are not served",
        ),
    ],
)
def test_wrong_resources_are_named(tmp_path: Path, resource: str, said: str) -> None:
    """Types, attributes and properties that are not known or not served."""
    with pytest.raises(SpecError) as caught:
        load(tmp_path, f"Resources:\n  R: {resource}\n")
    assert said in str(caught.value)
    assert "template.yaml: line 2: " in str(caught.value)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("Layers: [arn:x]", "F.Properties.Layers: layers are not served here"),
        ("PackageType: Image", "container-image functions"),
        ("CodeUri: x\n      InlineCode: y", "cannot go together with CodeUri"),
        ("CodeUri: !Ref Q", "must be known before anything is deployed"),
        ("Timout: 3", "did you mean Timeout?"),
        ("Events: {E: {Type: S3, Properties: {Bucket: b}}}", "F.Properties.Events.E.Type: buckets are not served"),
        ("Events: {E: {Type: Nope}}", "Nope events are not served here"),
        ("Events: {E: {Type: SQS, Properties: {BatchSize: 1}}}", "F.Properties.Events.E.Properties: has no Queue"),
        ("Events: {E: {Type: SQS, Properties: {Queue: q, Nope: 1}}}", "Events.E.Properties.Nope: is not a property"),
        ("Events: {E: {Type: HttpApi, Properties: {Path: /x}}}", "takes Path and Method together"),
        ("Events: {E: {Type: HttpApi, Properties: {Path: /x, Method: get, Auth: {Authorizer: A}}}}", "authorizers"),
        (
            "Events: {E: &e {Type: HttpApi, Properties: {Path: /x, Method: get}}, G: *e}",
            "has the route 'GET /x' already",
        ),
        (
            "Events: {E: {Type: Schedule, Properties: {Schedule: rate(1 day), Enabled: true, State: ENABLED}}}",
            "together",
        ),
        ("DeadLetterQueue: {Type: SNS, TargetArn: x}", "Type must be SQS here, not SNS"),
        ("EventInvokeConfig: {DestinationConfig: {OnFailure: {Type: EventBridge}}}", "Type must be SQS or Lambda"),
    ],
)
def test_wrong_functions_of_sam_are_named(tmp_path: Path, more: str, said: str) -> None:
    """Layers, images and events that are not served are refused, not left out."""
    code = "" if "CodeUri" in more else "CodeUri: src\n      "
    text = (
        "Resources:\n  Q: {Type: AWS::SQS::Queue}\n  F:\n    Type: AWS::Serverless::Function\n    Properties:\n"
        f"      {code}Handler: a.b\n      Runtime: python3.13\n      {more}\n"
    )
    with pytest.raises(SpecError) as caught:
        load(tmp_path, text)
    assert said in str(caught.value)


FULL = """
Transform: AWS::Serverless-2016-10-31
Globals:
  Function:
    Runtime: python3.13
    Timeout: 7
    Tags: {team: a}
    Environment: {Variables: {A: "1", B: "2"}}
  HttpApi: {CorsConfiguration: true}
Resources:
  F:
    Type: AWS::Serverless::Function
    Metadata: {BuildMethod: x}
    Properties:
      CodeUri: src
      Handler: a.b
      Timeout: "9"
      Tags: {team: b, x: y}
      Environment: {Variables: {B: "3"}}
      Policies: [AWSLambdaBasicExecutionRole]
      AutoPublishAlias: live
      DeadLetterQueue: {Type: SQS, TargetArn: !GetAtt Q.Arn}
      EventInvokeConfig:
        MaximumRetryAttempts: 0
        DestinationConfig: {OnFailure: {Type: SQS}}
      FunctionUrlConfig: {AuthType: NONE}
      Events:
        Get: {Type: HttpApi, Properties: {Path: "/orders/{id}", Method: get}}
        Any: {Type: HttpApi}
        Rest: {Type: Api, Properties: {Path: /old, Method: any}}
        Jobs:
          Type: SQS
          Properties: {Queue: !GetAtt Q.Arn, BatchSize: 5, FilterCriteria: {Filters: [{Pattern: {body: {a: [1]}}}]}}
        Nightly: {Type: Schedule, Properties: {Schedule: rate(1 day), Enabled: false, Input: "{}"}}
        Soon:
          Type: ScheduleV2
          Properties: {ScheduleExpression: 'cron(0 3 * * ? *)', DeadLetterConfig: {Type: SQS, QueueLogicalId: Lost}}
  Q: {Type: AWS::SQS::Queue}
  R: {Type: AWS::IAM::Role, Properties: {Anything: [at, all]}}
Outputs:
  Api: {Value: !Sub "https://${ServerlessHttpApi}.execute-api.${AWS::Region}.amazonaws.com/"}
  Role: {Value: !GetAtt FRole.Arn}
  Alias: {Value: !Ref F.Alias}
  Version: {Value: !Ref F.Version}
"""


def test_a_function_of_sam_becomes_what_it_stands_for(tmp_path: Path) -> None:
    """Every resource that SAM would make, under SAM's names, and each after those that it needs."""
    stack = load(tmp_path, FULL)
    assert {each.logical_id: each.type.partition("AWS::")[2] for each in stack.resources} == {
        "F": "Lambda::Function",
        "FAliaslive": "Lambda::Alias",
        "FUrl": "Lambda::Url",
        "FEventInvokeConfig": "Lambda::EventInvokeConfig",
        "FEventInvokeConfigOnFailureQueue": "SQS::Queue",
        "FGetIntegration": "ApiGatewayV2::Integration",
        "FGetRoute": "ApiGatewayV2::Route",
        "FAnyIntegration": "ApiGatewayV2::Integration",
        "FAnyRoute": "ApiGatewayV2::Route",
        "FRestIntegration": "ApiGatewayV2::Integration",
        "FRestRoute": "ApiGatewayV2::Route",
        "FJobs": "Lambda::EventSourceMapping",
        "FNightly": "Events::Rule",
        "FSoon": "Scheduler::Schedule",
        "Lost": "SQS::Queue",
        "Q": "SQS::Queue",
        "ServerlessHttpApi": "ApiGatewayV2::Api",
        "ServerlessHttpApiApiGatewayDefaultStage": "ApiGatewayV2::Stage",
        "ServerlessRestApi": "ApiGatewayV2::Api",
        "ServerlessRestApiProdStage": "ApiGatewayV2::Stage",
    }
    places = {each.logical_id: n for n, each in enumerate(stack.resources)}
    assert all(places[need] < places[name] for name, needs in stack.needs.items() for need in needs)


def test_globals_are_merged_and_events_lead_to_the_alias(tmp_path: Path) -> None:
    """Mappings are merged, scalars are the resource's own; patterns become JSON; triggers call the alias."""
    stack = load(tmp_path, FULL)
    function = properties(stack, "F")
    assert function["Timeout"] == 9
    assert function["Tags"] == {"team": "b", "x": "y"}
    assert function["Environment"]["Variables"] == {"A": "1", "B": "3"}
    assert function["DeadLetterConfig"] == {"TargetArn": "<Q.Arn>"}
    mapping = properties(stack, "FJobs")
    assert mapping == {
        "BatchSize": 5,
        "FilterCriteria": {"Filters": [{"Pattern": '{"body":{"a":[1]}}'}]},
        "EventSourceArn": "<Q.Arn>",
        "FunctionName": "<FAliaslive>",
    }
    assert properties(stack, "FNightly")["State"] == "DISABLED"
    assert properties(stack, "FSoon")["Target"]["DeadLetterConfig"] == {"Arn": "<Lost.Arn>"}
    assert properties(stack, "FEventInvokeConfig")["Qualifier"] == "live"
    assert properties(stack, "ServerlessHttpApi")["CorsConfiguration"]["AllowOrigins"] == ["*"]
    assert properties(stack, "FGetRoute")["RouteKey"] == "GET /orders/{id}"
    assert properties(stack, "FAnyRoute")["RouteKey"] == "$default"
    assert properties(stack, "FRestRoute")["RouteKey"] == "ANY /old"
    assert properties(stack, "FRestIntegration")["PayloadFormatVersion"] == "1.0"
    assert properties(stack, "FGetIntegration")["PayloadFormatVersion"] == "2.0"
    assert properties(stack, "FGetRoute")["Target"] == "integrations/<FGetIntegration>"


def test_what_has_no_effect_here_is_noted(tmp_path: Path) -> None:
    """Policies, roles and REST APIs are said, once each."""
    notes = load(tmp_path, FULL).notes
    assert "F.Policies: accepted, not enforced" in notes
    assert "R: AWS::IAM::Role is accepted, not enforced" in notes
    assert any(note.startswith("ServerlessRestApi: served by an HTTP API with payload format 1.0") for note in notes)


def test_conditions_leave_resources_out(tmp_path: Path) -> None:
    """A resource whose condition does not hold is not there; nor is what only DependsOn it has to wait for."""
    text = (
        "Parameters: {Stage: {Type: String, Default: dev}}\nConditions: {Prod: !Equals [!Ref Stage, prod]}\n"
        "Resources:\n"
        "  A: {Type: AWS::SQS::Queue, Condition: Prod}\n  B: {Type: AWS::SQS::Queue, DependsOn: A}\n"
    )
    assert [each.logical_id for each in load(tmp_path, text).resources] == ["B"]
    assert [each.logical_id for each in load(tmp_path, text, Stage="prod").resources] == ["A", "B"]
    with pytest.raises(SpecError, match="refers to A"):
        load(tmp_path, text + "  C: {Type: AWS::SQS::Queue, Properties: {QueueName: !GetAtt A.QueueName}}\n")


def test_circles_are_named(tmp_path: Path) -> None:
    """Resources that need each other cannot be made in any order."""
    text = (
        "Resources:\n  A: {Type: AWS::SQS::Queue, DependsOn: B}\n"
        "  B: {Type: AWS::SQS::Queue, Properties: {QueueName: !GetAtt C.QueueName}}\n"
        "  C: {Type: AWS::SQS::Queue, DependsOn: [A]}\n"
    )
    with pytest.raises(SpecError, match="resources need each other: A → B → C → A"):
        load(tmp_path, text)


def test_a_chain_of_all_resources_that_there_may_be(tmp_path: Path) -> None:
    """The limit's worth of resources, each needing the next, is put in order without recursion, and quickly."""
    lines = [f"  Q{n}: {{Type: AWS::SQS::Queue, DependsOn: Q{n + 1}}}" for n in range(499)]
    begun = time.monotonic()
    stack = load(tmp_path, "Resources:\n" + "\n".join([*lines, "  Q499: {Type: AWS::SQS::Queue}"]) + "\n")
    assert [each.logical_id for each in stack.resources] == [f"Q{n}" for n in reversed(range(500))]
    assert time.monotonic() - begun < 10
    with pytest.raises(SpecError, match="501 resources, over the limit of 500"):
        load(tmp_path, "Resources:\n" + "\n".join(f"  Q{n}: {{Type: AWS::SQS::Queue}}" for n in range(501)) + "\n")


def test_a_template_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    """CloudFormation's own limit."""
    with pytest.raises(SpecError, match="a template may have 1,000,000 bytes"):
        load(tmp_path, "Resources: {}\n#" + "x" * 1_000_000)


@pytest.mark.parametrize(
    ("parameter", "said"),
    [
        ("{Type: Number, Default: 5, MinValue: x}", "line 1: Parameters.A.MinValue: must be a number"),
        ("{Type: Number, Default: 5, MaxValue: [1]}", "line 1: Parameters.A.MaxValue: must be a number"),
        ("{Type: String, Default: abc, MinLength: [x]}", "line 1: Parameters.A.MinLength: must be a number"),
        ("{Type: String, Default: abc, MaxLength: many}", "line 1: Parameters.A.MaxLength: must be a number"),
        ("{Type: String, Default: [a]}", "line 1: Parameters.A.Default: must be text"),
    ],
)
def test_parameters_that_are_declared_wrongly(tmp_path: Path, parameter: str, said: str) -> None:
    """A limit that is no number, and a default that is no text, are named with their place."""
    with pytest.raises(SpecError) as caught:
        load(tmp_path, f"Parameters: {{A: {parameter}}}\nResources: {{F: {FUNCTION}}}")
    assert str(caught.value).endswith(said)


def test_a_chain_of_conditions_ends_somewhere(tmp_path: Path) -> None:
    """Conditions that stand on each other are refused before the stack of the interpreter ends."""
    chain = "".join(f"  C{at}: !Not [!Condition C{at + 1}]\n" for at in range(3000))
    with pytest.raises(SpecError, match="more than 50 conditions stand on each other"):
        load(tmp_path, f"Conditions:\n{chain}  C3000: !Equals [a, a]\nResources: {{F: {FUNCTION}}}")


def test_ignore_globals_with_other_things_than_names(tmp_path: Path) -> None:
    """What is no name of a property ignores nothing."""
    function = FUNCTION.replace("{Type", "{IgnoreGlobals: [{a: b}], Type", 1)
    stack = load(tmp_path, f"Globals: {{Function: {{Timeout: 7}}}}\nResources: {{F: {function}}}")
    assert properties(stack, "F")["Timeout"] == 7


def test_json_that_waits_for_resources(tmp_path: Path) -> None:
    """A pattern with a reference in it becomes its text when the resource has a name."""
    rule = "{Type: AWS::Events::Rule, Properties: {EventPattern: {resources: [!GetAtt Q.Arn]}}}"
    stack = load(tmp_path, f"Resources: {{R: {rule}, Q: {{Type: AWS::SQS::Queue}}}}")
    assert properties(stack, "R")["EventPattern"] == '{"resources":["<Q.Arn>"]}'
    assert [each.logical_id for each in stack.resources] == ["Q", "R"]
