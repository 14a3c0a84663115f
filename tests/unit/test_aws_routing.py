"""Routes: every operation's own path leads to it, encoded or not, whatever SDK made it."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent_platform.gateway.aws.catalog import Service, ServiceCatalog
from lambent_platform.gateway.aws.http import split_query
from lambent_platform.gateway.aws.routing import Router

LAMBDA = ServiceCatalog().get("lambda")
SITES = ServiceCatalog().get("apigatewayv2")
ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"


@pytest.mark.parametrize(
    ("service", "name"), [(service, name) for service in (LAMBDA, SITES) for name in sorted(service.operation_names)]
)
def test_every_operation_is_found_by_its_own_path(service: Service, name: str) -> None:
    """The model's method and path, its labels filled in, lead back to the operation and its labels."""
    http = service.operation(name).http
    labels = re.findall(r"\{([\w-]+)\+?\}", http["requestUri"])
    path, _, query = re.sub(r"\{([\w-]+)\+?\}", lambda match: f"v%2F{match[1]}", http["requestUri"]).partition("?")
    match = service.router.find(http["method"], path, split_query(query))
    assert match is not None
    assert match.operation == name
    assert match.labels == {label: f"v/{label}" for label in labels}


@pytest.mark.parametrize(
    ("method", "path", "query", "operation"),
    [
        ("GET", "/2015-03-31/functions/", "", "ListFunctions"),
        ("GET", "/2015-03-31/functions", "MaxItems=1", "ListFunctions"),
        ("POST", "/2015-03-31/functions", "", "CreateFunction"),
        ("GET", f"/2015-03-31/functions/{ARN}", "", "GetFunction"),
        ("GET", f"/2015-03-31/functions/{quote(ARN, safe='')}/", "", "GetFunction"),
        ("GET", "/2018-10-31/layers", "find=LayerVersion&Arn=x", "GetLayerVersionByArn"),
        ("GET", "/2018-10-31/layers", "find=Other", "ListLayers"),
        ("GET", "/2019-09-30/functions/f/provisioned-concurrency", "List=ALL", "ListProvisionedConcurrencyConfigs"),
        ("GET", "/2019-09-30/functions/f/provisioned-concurrency", "Qualifier=1", "GetProvisionedConcurrencyConfig"),
        ("PATCH", "/2015-03-31/functions", "", None),
        ("GET", "/2015-03-31/functions//configuration", "", None),
        ("GET", "/2015-03-31/functions/a/b/configuration", "", None),
        ("GET", "/2015-03-31", "", None),
        ("GET", "/1999-01-01/functions", "", None),
        ("GET", "", "", None),
    ],
)
def test_paths(method: str, path: str, query: str, operation: str | None) -> None:
    """Slashes at the end, fixed query parts and encoded labels are all understood, and nothing else is."""
    match = LAMBDA.router.find(method, path, split_query(query))
    assert (match.operation if match else None) == operation


def test_greedy_labels_take_slashes() -> None:
    """A greedy label holds several segments and gives way to a more literal route."""
    router = Router(
        [("Object", "GET", "/{Bucket}/{Key+}"), ("Fixed", "GET", "/a/{Key+}/end"), ("Any", "GET", "/a/{K+}")]
    )
    found = router.find("GET", "/a/b/c/end")
    assert found is not None
    assert (found.operation, found.labels) == ("Fixed", {"Key": "b/c"})
    found = router.find("GET", "/a/b/c")
    assert found is not None
    assert (found.operation, found.labels) == ("Any", {"K": "b/c"})


@given(st.text(min_size=1, max_size=40).filter(lambda text: text.strip("/")))
def test_any_label_survives_encoding(name: str) -> None:
    """Whatever a client encodes into a label comes out as it went in."""
    match = LAMBDA.router.find("GET", f"/2015-03-31/functions/{quote(name, safe='')}/configuration")
    assert match is not None
    assert match.labels == {"FunctionName": name}
