"""Which route of an HTTP API a request takes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent_platform.contracts.apis import ApiRecord
from lambent_platform.contracts.names import FunctionRef
from lambent_platform.core.apis.routing import Site, Stage, compile_site

KEYS = (
    "GET /",
    "GET /pets",
    "ANY /pets",
    "GET /pets/dog/1",
    "GET /pets/dog/{id}",
    "GET /pets/{proxy+}",
    "POST /pets/{kind}/{id}",
    "PUT /pets/{kind}/{number}/name",
    "ANY /shop/{proxy+}",
    "GET /shop/{item}",
    "GET /caf%C3%A9/{id}",
    "DELETE /slash/",
)


def record(*keys: str, uri: str = "arn:aws:lambda:us-east-1:000000000000:function:f", **stage: Any) -> ApiRecord:
    """Make an API with these routes, all to one function, on the stage `$default`."""
    return ApiRecord(
        id="abc",
        account="000000000000",
        region="us-east-1",
        settings={"ProtocolType": "HTTP", "Name": "n"},
        integrations={"i1": {"IntegrationUri": uri, "PayloadFormatVersion": "2.0", "TimeoutInMillis": 30_000}},
        routes={
            f"r{at}": {"RouteId": f"r{at}", "RouteKey": key, "Target": "integrations/i1"} for at, key in enumerate(keys)
        },
        stages={"$default": {"StageName": "$default", "AutoDeploy": True, "StageVariables": {}, **stage}},
        generation=1,
    )


def default(site: Site) -> Stage:
    """The stage `$default`."""
    return site.stages["$default"]


@pytest.mark.parametrize(
    ("method", "path", "key", "values"),
    [
        ("GET", "/", "GET /", {}),
        ("POST", "/", None, {}),
        ("GET", "/pets", "GET /pets", {}),
        ("PATCH", "/pets", "ANY /pets", {}),
        ("GET", "/pets/", None, {}),
        ("GET", "/pets/dog/1", "GET /pets/dog/1", {}),
        ("GET", "/pets/dog/2", "GET /pets/dog/{id}", {"id": "2"}),
        ("GET", "/pets/cat/2", "GET /pets/{proxy+}", {"proxy": "cat/2"}),
        ("GET", "/pets/dog/2/x/", "GET /pets/{proxy+}", {"proxy": "dog/2/x/"}),
        ("POST", "/pets/dog/1", "POST /pets/{kind}/{id}", {"kind": "dog", "id": "1"}),
        ("POST", "/pets//1", None, {}),
        ("PUT", "/pets/dog/1/name", "PUT /pets/{kind}/{number}/name", {"kind": "dog", "number": "1"}),
        ("PUT", "/pets/dog/1/names", None, {}),
        ("GET", "/shop/a", "GET /shop/{item}", {"item": "a"}),
        ("POST", "/shop/a", "ANY /shop/{proxy+}", {"proxy": "a"}),
        ("GET", "/shop/a/b", "ANY /shop/{proxy+}", {"proxy": "a/b"}),
        ("GET", "/shop/", None, {}),
        ("GET", "/shop", None, {}),
        ("GET", "/shop/a%2Fb%20c", "GET /shop/{item}", {"item": "a/b c"}),
        ("GET", "/caf%C3%A9/1", "GET /caf%C3%A9/{id}", {"id": "1"}),
        ("DELETE", "/slash/", "DELETE /slash/", {}),
        ("DELETE", "/slash", None, {}),
        ("GET", "/Pets", None, {}),
    ],
)
def test_the_most_specific_route_wins(method: str, path: str, key: str | None, values: dict[str, str]) -> None:
    """Full matches come before variables, those before greedy ones, and a method before ANY at the same path."""
    found = default(compile_site(record(*KEYS))).table.find(method, path)
    assert (found[0].key if found else None) == key
    if found:
        assert found[1] == values
    with_default = default(compile_site(record(*KEYS, "$default"))).table.find(method, path)
    assert with_default is not None
    assert with_default[0].key == (key or "$default")


@given(st.lists(st.sampled_from(("a", "b", "{x}", "{p+}")), min_size=1, max_size=5), st.lists(st.sampled_from("abc")))
def test_a_route_matches_what_it_says_and_nothing_else(pattern: list[str], segments: list[str]) -> None:
    """A table of one route agrees with the plain reading of that route, segment by segment."""
    if "{p+}" in pattern:
        pattern = pattern[: pattern.index("{p+}") + 1]
    pattern = [part.replace("x", f"x{at}") for at, part in enumerate(pattern)]
    found = default(compile_site(record(f"GET /{'/'.join(pattern)}"))).table.find("GET", f"/{'/'.join(segments)}")
    greedy = pattern[-1].endswith("+}")
    head = pattern[:-1] if greedy else pattern
    fits = len(segments) > len(head) if greedy else len(segments) == len(head)
    fits = fits and all(p.startswith("{") or p == s for p, s in zip(head, segments, strict=False))
    assert (found is not None) == fits


@pytest.mark.parametrize(
    ("path", "stage", "inner"),
    [
        ("/dev/pets", "dev", "/pets"),
        ("/dev", "dev", "/"),
        ("/dev/", "dev", "/"),
        ("/d%65v/pets", "dev", "/pets"),
        ("/devil/pets", "$default", "/devil/pets"),
        ("/", "$default", "/"),
        ("/$default/pets", "$default", "/$default/pets"),
        ("/idle/pets", "$default", "/idle/pets"),
    ],
)
def test_stages(path: str, stage: str, inner: str) -> None:
    """The first segment names a stage that serves something; all else is the default stage's."""
    made = record("$default")
    stages = {
        **made.stages,
        "dev": {"StageName": "dev", "AutoDeploy": True, "StageVariables": {}},
        "idle": {"StageName": "idle", "AutoDeploy": False, "StageVariables": {}},
    }
    found = compile_site(replace(made, stages=stages)).stage_of(path)
    assert found is not None
    assert (found[0].name, found[1]) == (stage, inner)


def test_no_default_stage() -> None:
    """Without a default stage a path must name one."""
    made = record("$default")
    named = {"dev": {"StageName": "dev", "AutoDeploy": True, "StageVariables": {}}}
    site = compile_site(replace(made, stages=named))
    assert site.stage_of("/pets") is None
    assert site.stage_of("/dev/pets") is not None


def test_a_deployed_stage_serves_what_was_deployed() -> None:
    """A stage that follows nothing serves its deployment's copy, whatever the API has become."""
    made = record("GET /new")
    snapshot = {
        "settings": made.settings,
        "routes": record("GET /old").routes,
        "responses": {},
        "integrations": made.integrations,
    }
    stage = {"StageName": "$default", "AutoDeploy": False, "DeploymentId": "d1", "StageVariables": {}}
    table = default(compile_site(replace(made, stages={"$default": stage}, snapshots={"d1": snapshot}))).table
    assert table.find("GET", "/old") is not None
    assert table.find("GET", "/new") is None


@pytest.mark.parametrize(
    ("uri", "function"),
    [
        ("arn:aws:lambda:us-east-1:000000000000:function:f", FunctionRef("f")),
        (
            "arn:aws:lambda:eu-west-1:000000000001:function:f:live",
            FunctionRef("f", "live", "000000000001", "eu-west-1"),
        ),
        (
            "arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/"
            "arn:aws:lambda:us-east-1:000000000000:function:f/invocations",
            FunctionRef("f"),
        ),
        ("arn:aws:lambda:us-east-1:000000000000:function:${stageVariables.fn}", FunctionRef("g")),
        ("arn:aws:lambda:us-east-1:000000000000:function:${stageVariables.none}", None),
    ],
)
def test_what_a_route_leads_to(uri: str, function: FunctionRef | None) -> None:
    """A function's ARN, the path of its Invoke, or either with a variable of the stage."""
    found = default(compile_site(record("GET /", uri=uri, StageVariables={"fn": "g"}))).table.find("GET", "/")
    assert found is not None
    assert found[0].function == function
