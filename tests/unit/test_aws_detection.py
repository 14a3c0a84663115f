"""Whose request is it: scopes, targets, paths and actions."""

from __future__ import annotations

import pytest

from lambent_platform.gateway.aws import detection
from lambent_platform.gateway.aws.catalog import ServiceCatalog
from lambent_platform.gateway.aws.detection import Scope

CATALOG = ServiceCatalog()


@pytest.mark.parametrize(
    ("authorization", "query", "scope"),
    [
        (
            "AWS4-HMAC-SHA256 Credential=AKIDX/20260102/eu-west-1/lambda/aws4_request, SignedHeaders=host, Signature=0",
            "",
            Scope("AKIDX", "eu-west-1", "lambda"),
        ),
        ("AWS4-ECDSA-P256-SHA256 Credential=AKIDX/20260102/sts/aws4_request, S=0", "", Scope("AKIDX", "", "sts")),
        (
            "",
            "X-Amz-Credential=AKIDX%2F20260102%2Fus-gov-west-1%2Fsts%2Faws4_request&X=1",
            Scope("AKIDX", "us-gov-west-1", "sts"),
        ),
        ("", "a=1&X-Amz-Credential=AKIDX/20260102/us-east-2/sts/aws4_request", Scope("AKIDX", "us-east-2", "sts")),
        ("AWS4-HMAC-SHA256 Credential=A/20260102/..{x}../logs/aws4_request", "", Scope("A", "", "logs")),
        ("Bearer abc", "", Scope()),
        ("AWS4-HMAC-SHA256 Credential=", "", Scope()),
        ("", "", Scope()),
    ],
)
def test_scopes(authorization: str, query: str, scope: Scope) -> None:
    """Header, presigned URL and region-less scopes are read; a region that is none is left out."""
    assert detection.read_scope(authorization, query) == scope


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("Logs_20140328.FilterLogEvents", ("logs", "FilterLogEvents")),
        ("DynamoDB_20120810.PutItem", None),
        ("FilterLogEvents", None),
        ("", None),
    ],
)
def test_targets(target: str, found: tuple[str, str] | None) -> None:
    """A target's prefix names its service."""
    assert detection.split_target(CATALOG, target) == found


@pytest.mark.parametrize(
    ("path", "service"),
    [
        ("/2015-03-31/functions", "lambda"),
        ("/2021-10-31/anything/else", "lambda"),
        ("/2018-06-01/runtime/invocation/next", None),
        ("/functions", None),
        ("/v2/apis", "apigatewayv2"),
        ("/v2/tags/arn%3Aaws%3Aapigateway%3Aus-east-1%3A%3A%2Fapis%2Fa", "apigatewayv2"),
        ("/v2/others", None),
        ("/", None),
    ],
)
def test_paths(path: str, service: str | None) -> None:
    """What a service's paths begin with names it: a date of Lambda's, or the service's own words."""
    assert detection.rest_service(CATALOG, path) == service


@pytest.mark.parametrize(
    ("service", "fields", "found"),
    [
        ("sts", [("Action", "GetCallerIdentity")], ("sts", "GetCallerIdentity")),
        ("", [("Action", "GetCallerIdentity"), ("Version", "2011-06-15")], ("sts", "GetCallerIdentity")),
        ("s3", [("Action", "GetCallerIdentity"), ("Version", "2011-06-15")], ("sts", "GetCallerIdentity")),
        ("", [("Action", "SendMessage"), ("Version", "2012-11-05")], ("sqs", "SendMessage")),
        ("", [("Action", "Publish"), ("Version", "2010-03-31")], (None, "Publish")),
        ("sts", [("Version", "2011-06-15")], None),
    ],
)
def test_actions(service: str, fields: list[tuple[str, str]], found: tuple[str | None, str] | None) -> None:
    """An action belongs to the service of its scope, else of its version."""
    assert detection.query_action(CATALOG, Scope(service=service), fields) == found


def test_a_queues_own_url() -> None:
    """An action at the path of a queue is for the queue service, which people leave the version out of."""
    fields = [("Action", "SendMessage")]
    assert detection.query_action(CATALOG, Scope(), fields, "/000000000000/q.fifo") == ("sqs", "SendMessage")
    assert detection.query_action(CATALOG, Scope(), fields, "/000000000000/q/r") == (None, "SendMessage")
