"""API Gateway v2's operations through boto3."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError


def refused(call: Any, **params: Any) -> tuple[str, str]:
    """Call an operation that must be refused; returns the error's code and message."""
    with pytest.raises(ClientError) as caught:
        call(**params)
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


def integration(gateway: Any, api: str, **more: Any) -> dict[str, Any]:
    """Make an integration with function `f`."""
    given = {"IntegrationType": "AWS_PROXY", "IntegrationUri": gateway.arn("f"), "PayloadFormatVersion": "2.0"}
    made: dict[str, Any] = gateway.client.create_integration(ApiId=api, **{**given, **more})
    made.pop("ResponseMetadata")
    return made


def plain(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer without what boto3 adds."""
    return {name: value for name, value in answer.items() if name != "ResponseMetadata"}


def test_apis(gateway: Any) -> None:
    """An API is made with the service's defaults, read, changed in what is given, and deleted."""
    client = gateway.client
    answer = client.create_api(Name="site", ProtocolType="HTTP", Tags={"a": "1"})
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 201
    made = plain(answer)
    api = made["ApiId"]
    assert made == {
        "ApiId": api,
        "ApiEndpoint": f"http://{api}.execute-api.us-east-1.localhost:{gateway.port}",
        "ApiKeySelectionExpression": "$request.header.x-api-key",
        "CreatedDate": made["CreatedDate"],
        "DisableExecuteApiEndpoint": False,
        "IpAddressType": "ipv4",
        "Name": "site",
        "ProtocolType": "HTTP",
        "RouteSelectionExpression": "${request.method} ${request.path}",
        "Tags": {"a": "1"},
    }
    assert plain(client.get_api(ApiId=api)) == made
    changed = client.update_api(ApiId=api, Description="more", CorsConfiguration={"AllowOrigins": ["*"]})
    assert (changed["Description"], changed["Name"]) == ("more", "site")
    assert changed["CorsConfiguration"] == {"AllowOrigins": ["*"]}
    assert client.delete_api(ApiId=api)["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert refused(client.get_api, ApiId=api) == (
        "NotFoundException",
        f"Invalid API identifier specified 000000000000:{api}",
    )
    assert refused(client.delete_api, ApiId=api)[0] == "NotFoundException"
    assert client.get_apis()["Items"] == []


def test_pages_of_apis(gateway: Any) -> None:
    """Lists come in pages, each API once."""
    client = gateway.client
    made = {client.create_api(Name=f"n{at}", ProtocolType="HTTP")["ApiId"] for at in range(5)}
    found: list[str] = []
    more: dict[str, str] = {}
    while True:
        page = client.get_apis(MaxResults="2", **more)
        assert len(page["Items"]) <= 2
        found += [one["ApiId"] for one in page["Items"]]
        if "NextToken" not in page:
            break
        more = {"NextToken": page["NextToken"]}
    assert sorted(found) == sorted(made)
    assert [one["ApiId"] for page in client.get_paginator("get_apis").paginate() for one in page["Items"]] == found
    for bad in ({"MaxResults": "0"}, {"MaxResults": "x"}, {"NextToken": "!"}):
        assert refused(client.get_apis, **bad)[0] == "BadRequestException"


def test_integrations(gateway: Any) -> None:
    """An integration is made, read, changed and deleted, but not while a route leads to it."""
    api, client = gateway.api({}), gateway.client
    made = integration(gateway, api)
    key = made["IntegrationId"]
    assert made == {
        "ConnectionType": "INTERNET",
        "IntegrationId": key,
        "IntegrationMethod": "POST",
        "IntegrationType": "AWS_PROXY",
        "IntegrationUri": gateway.arn("f"),
        "PayloadFormatVersion": "2.0",
        "TimeoutInMillis": 30000,
    }
    assert plain(client.get_integration(ApiId=api, IntegrationId=key)) == made
    assert client.update_integration(ApiId=api, IntegrationId=key, TimeoutInMillis=50)["TimeoutInMillis"] == 50
    route = client.create_route(ApiId=api, RouteKey="GET /", Target=f"integrations/{key}")["RouteId"]
    assert refused(client.delete_integration, ApiId=api, IntegrationId=key)[0] == "ConflictException"
    client.delete_route(ApiId=api, RouteId=route)
    client.delete_integration(ApiId=api, IntegrationId=key)
    assert refused(client.get_integration, ApiId=api, IntegrationId=key) == (
        "NotFoundException",
        f"Invalid Integration identifier specified {key}",
    )


@pytest.mark.parametrize(
    "given",
    [
        {"IntegrationType": "HTTP_PROXY", "IntegrationUri": "http://10.0.0.1/"},
        {"IntegrationType": "MOCK"},
        {"IntegrationUri": "no arn"},
        {"IntegrationUri": "f"},
        {"IntegrationUri": ""},
        {"PayloadFormatVersion": "3.0"},
        {"TimeoutInMillis": 49},
        {"TimeoutInMillis": 30_001},
        {"ConnectionType": "VPC_LINK", "ConnectionId": "v"},
        {"RequestParameters": {"append:header.x": "y"}},
        {"IntegrationSubtype": "SQS-SendMessage"},
        {"TlsConfig": {"ServerNameToVerify": "x"}},
    ],
)
def test_integrations_that_are_refused(gateway: Any, given: dict[str, Any]) -> None:
    """What could not be served as it says is not stored."""
    api = gateway.api({})
    with pytest.raises(ClientError) as caught:
        integration(gateway, api, **given)
    assert caught.value.response["Error"]["Code"] == "BadRequestException"
    assert gateway.client.get_integrations(ApiId=api)["Items"] == []


def test_routes(gateway: Any) -> None:
    """A route is made, read, changed and deleted; a key is there once."""
    api, client = gateway.api({}), gateway.client
    target = f"integrations/{integration(gateway, api)['IntegrationId']}"
    made = plain(client.create_route(ApiId=api, RouteKey="GET /pets/{id}", Target=target))
    key = made["RouteId"]
    assert made == {
        "ApiKeyRequired": False,
        "AuthorizationType": "NONE",
        "RouteId": key,
        "RouteKey": "GET /pets/{id}",
        "Target": target,
    }
    assert plain(client.get_route(ApiId=api, RouteId=key)) == made
    assert refused(client.create_route, ApiId=api, RouteKey="GET /pets/{id}") == (
        "ConflictException",
        "Route with key GET /pets/{id} already exists for this API",
    )
    assert client.update_route(ApiId=api, RouteId=key, RouteKey="POST /pets")["RouteKey"] == "POST /pets"
    assert [one["RouteKey"] for one in client.get_routes(ApiId=api)["Items"]] == ["POST /pets"]
    client.delete_route(ApiId=api, RouteId=key)
    assert refused(client.get_route, ApiId=api, RouteId=key)[0] == "NotFoundException"


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"RouteKey": "/pets"}, "BadRequestException"),
        ({"RouteKey": "GET pets"}, "BadRequestException"),
        ({"RouteKey": "FETCH /pets"}, "BadRequestException"),
        ({"RouteKey": "GET /{a+}/b"}, "BadRequestException"),
        ({"RouteKey": "GET /{a}/{a}"}, "BadRequestException"),
        ({"RouteKey": "GET /x{a}"}, "BadRequestException"),
        ({"RouteKey": "GET /{}"}, "BadRequestException"),
        ({"RouteKey": "$connect"}, "BadRequestException"),
        ({"RouteKey": "GET /a", "Target": "elsewhere"}, "BadRequestException"),
        ({"RouteKey": "GET /a", "Target": "integrations/none"}, "NotFoundException"),
        ({"RouteKey": "GET /a", "AuthorizationType": "JWT", "AuthorizerId": "a"}, "BadRequestException"),
        ({"RouteKey": "GET /a", "AuthorizationType": "AWS_IAM"}, "BadRequestException"),
        ({"RouteKey": "GET /a", "ApiKeyRequired": True}, "BadRequestException"),
        ({"RouteKey": "GET /a", "AuthorizationType": "odd"}, "BadRequestException"),
    ],
)
def test_routes_that_are_refused(gateway: Any, given: dict[str, Any], code: str) -> None:
    """Keys of another form, targets that are none, and any protection that would not be there."""
    api = gateway.api({})
    assert refused(gateway.client.create_route, ApiId=api, **given)[0] == code
    assert gateway.client.get_routes(ApiId=api)["Items"] == []


def test_the_limit_of_routes(gateway: Any) -> None:
    """An API has at most 300 routes."""
    api, client = gateway.api({}), gateway.client
    for at in range(300):
        client.create_route(ApiId=api, RouteKey=f"GET /{at}")
    assert refused(client.create_route, ApiId=api, RouteKey="GET /more")[0] == "TooManyRequestsException"
    pages = client.get_paginator("get_routes").paginate(ApiId=api, PaginationConfig={"PageSize": 70})
    assert len({one["RouteKey"] for page in pages for one in page["Items"]}) == 300


def test_stages(gateway: Any) -> None:
    """A stage is made with the service's defaults, changed and deleted."""
    client = gateway.client
    api = client.create_api(Name="site", ProtocolType="HTTP")["ApiId"]
    made = plain(client.create_stage(ApiId=api, StageName="dev", StageVariables={"a": "b"}))
    assert made == {
        "AutoDeploy": False,
        "CreatedDate": made["CreatedDate"],
        "DefaultRouteSettings": {"DetailedMetricsEnabled": False},
        "LastUpdatedDate": made["LastUpdatedDate"],
        "RouteSettings": {},
        "StageName": "dev",
        "StageVariables": {"a": "b"},
        "Tags": {},
    }
    assert plain(client.get_stage(ApiId=api, StageName="dev")) == made
    assert refused(client.create_stage, ApiId=api, StageName="dev")[0] == "ConflictException"
    settings = {"ThrottlingBurstLimit": 5, "ThrottlingRateLimit": 10.0}
    client.update_stage(
        ApiId=api, StageName="dev", DefaultRouteSettings=settings, RouteSettings={"GET /a": settings}, Description="d"
    )
    stage = client.get_stage(ApiId=api, StageName="dev")
    assert stage["DefaultRouteSettings"] == stage["RouteSettings"]["GET /a"] == settings
    client.delete_route_settings(ApiId=api, StageName="dev", RouteKey="GET /a")
    assert client.get_stage(ApiId=api, StageName="dev")["RouteSettings"] == {}
    assert [one["StageName"] for one in client.get_stages(ApiId=api)["Items"]] == ["dev"]
    client.delete_stage(ApiId=api, StageName="dev")
    assert refused(client.get_stage, ApiId=api, StageName="dev")[0] == "NotFoundException"


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"StageName": "a b"}, "BadRequestException"),
        ({"StageName": "x" * 129}, "BadRequestException"),
        ({"StageName": "dev", "StageVariables": {"a-b": "1"}}, "BadRequestException"),
        ({"StageName": "dev", "StageVariables": {"a": "ü"}}, "BadRequestException"),
        ({"StageName": "dev", "DeploymentId": "none"}, "NotFoundException"),
        ({"StageName": "dev", "DeploymentId": "none", "AutoDeploy": True}, "BadRequestException"),
    ],
)
def test_stages_that_are_refused(gateway: Any, given: dict[str, Any], code: str) -> None:
    """Names, variables and deployments that cannot be."""
    api = gateway.client.create_api(Name="site", ProtocolType="HTTP")["ApiId"]
    assert refused(gateway.client.create_stage, ApiId=api, **given)[0] == code


def test_deployments(gateway: Any) -> None:
    """A deployment needs a route, and stays while a stage serves it; AutoDeploy shows the newest of its own."""
    client = gateway.client
    api = client.create_api(Name="site", ProtocolType="HTTP")["ApiId"]
    assert refused(client.create_deployment, ApiId=api) == (
        "BadRequestException",
        "At least one route is required before deploying the Api.",
    )
    client.create_route(ApiId=api, RouteKey="GET /a")
    client.create_stage(ApiId=api, StageName="prod")
    made = plain(client.create_deployment(ApiId=api, StageName="prod", Description="one"))
    assert (made["AutoDeployed"], made["DeploymentStatus"], made["Description"]) == (False, "DEPLOYED", "one")
    key = made["DeploymentId"]
    assert client.get_stage(ApiId=api, StageName="prod")["DeploymentId"] == key
    assert refused(client.delete_deployment, ApiId=api, DeploymentId=key)[0] == "BadRequestException"
    assert client.update_deployment(ApiId=api, DeploymentId=key, Description="two")["Description"] == "two"
    client.delete_stage(ApiId=api, StageName="prod")
    client.delete_deployment(ApiId=api, DeploymentId=key)
    assert refused(client.get_deployment, ApiId=api, DeploymentId=key)[0] == "NotFoundException"
    client.create_stage(ApiId=api, StageName="dev", AutoDeploy=True)
    seen = set()
    for path in ("/b", "/c", "/d"):
        client.create_route(ApiId=api, RouteKey=f"GET {path}")
        stage = client.get_stage(ApiId=api, StageName="dev")
        assert stage["LastDeploymentStatusMessage"].endswith(f"'{stage['DeploymentId']}'")
        seen.add(stage["DeploymentId"])
    assert len(seen) == 3
    items = client.get_deployments(ApiId=api)["Items"]
    assert [one["DeploymentId"] for one in items if one["AutoDeployed"]] == [stage["DeploymentId"]]
    assert refused(client.create_deployment, ApiId=api, StageName="dev")[0] == "BadRequestException"


def test_tags(gateway: Any) -> None:
    """APIs and stages have tags, by their ARNs."""
    client = gateway.client
    api = gateway.api({})
    for arn in (
        f"arn:aws:apigateway:us-east-1::/apis/{api}",
        f"arn:aws:apigateway:us-east-1::/apis/{api}/stages/$default",
    ):
        client.tag_resource(ResourceArn=arn, Tags={"a": "1", "b": "2"})
        client.untag_resource(ResourceArn=arn, TagKeys=["a", "none"])
        assert client.get_tags(ResourceArn=arn)["Tags"] == {"b": "2"}
    assert client.get_api(ApiId=api)["Tags"] == {"b": "2"}
    assert refused(client.get_tags, ResourceArn="arn:aws:apigateway:us-east-1::/apis/none")[0] == "NotFoundException"
    assert refused(client.get_tags, ResourceArn="arn:aws:s3:::x")[0] == "BadRequestException"
    arn = f"arn:aws:apigateway:us-east-1::/apis/{api}"
    assert refused(client.tag_resource, ResourceArn=arn, Tags={"aws:x": "1"})[0] == "BadRequestException"


@pytest.mark.parametrize(
    "given",
    [
        {"Name": ""},
        {"Name": "x" * 129},
        {"ProtocolType": "SMTP"},
        {"ProtocolType": "WEBSOCKET"},
        {"ProtocolType": "WEBSOCKET", "RouteSelectionExpression": "action"},
        {
            "ProtocolType": "WEBSOCKET",
            "RouteSelectionExpression": "$request.body.action",
            "CorsConfiguration": {"AllowOrigins": ["*"]},
        },
        {"RouteSelectionExpression": "$request.body.action"},
        {"RouteKey": "GET /"},
        {"Target": "https://example.com/"},
        {"Target": "arn:aws:s3:::bucket"},
        {"CorsConfiguration": {"AllowOrigins": ["example.com"]}},
        {"CorsConfiguration": {"AllowOrigins": ["*"], "AllowCredentials": True}},
        {"CorsConfiguration": {"MaxAge": 100_000}},
        {"Tags": {"aws:a": "1"}},
    ],
)
def test_apis_that_are_refused(gateway: Any, given: dict[str, Any]) -> None:
    """Bad settings are told under the service's own code, and nothing is made."""
    code, _ = refused(gateway.client.create_api, **{"Name": "n", "ProtocolType": "HTTP", **given})
    assert code == "BadRequestException"
    assert gateway.client.get_apis()["Items"] == []


def test_what_is_not_served(gateway: Any) -> None:
    """Operations that are not there say so, rather than doing nothing."""
    client = gateway.client
    api = gateway.api({})
    code, message = refused(
        client.create_authorizer, ApiId=api, AuthorizerType="JWT", Name="a", IdentitySource=["$request.header.A"]
    )
    assert (code, "CreateAuthorizer" in message) == ("NotImplementedException", True)
    assert refused(client.import_api, Body="{}")[0] == "NotImplementedException"
    assert refused(client.get_domain_names)[0] == "NotImplementedException"


def test_writers_at_once(gateway: Any, other_gateway: Any) -> None:
    """Routes made at the same time through two gateways are all there."""
    from concurrent.futures import ThreadPoolExecutor

    api = gateway.api({})
    clients = [gateway.client, other_gateway.client]

    def make(at: int) -> str:
        return str(clients[at % 2].create_route(ApiId=api, RouteKey=f"GET /{at}")["RouteKey"])

    with ThreadPoolExecutor(4) as pool:
        made = sorted(pool.map(make, range(40)))
    assert sorted(one["RouteKey"] for one in clients[0].get_routes(ApiId=api)["Items"]) == made
