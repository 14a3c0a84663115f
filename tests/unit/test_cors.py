"""Cross-origin rules of function URLs."""

from __future__ import annotations

from typing import Any

import pytest
from multidict import CIMultiDict

from lambent_platform.core.cors import is_preflight, preflight_headers, with_cors

ORIGIN = "https://app.example.com"


def asking(**more: str) -> CIMultiDict[str]:
    """The headers of a browser's question."""
    return CIMultiDict({"Origin": ORIGIN, "Access-Control-Request-Method": "PUT", **more})


def test_only_a_browsers_question_is_a_preflight() -> None:
    """Any other OPTIONS is the function's."""
    assert is_preflight("OPTIONS", asking())
    assert not is_preflight("OPTIONS", CIMultiDict({"Origin": ORIGIN}))
    assert not is_preflight("GET", asking())


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"AllowOrigins": ["*"], "AllowMethods": ["*"]}, {"Origin": "*", "Methods": "PUT"}),
        ({"AllowOrigins": [ORIGIN], "AllowMethods": ["GET", "PUT"]}, {"Origin": ORIGIN, "Methods": "GET,PUT"}),
        ({"AllowOrigins": ["https://*.example.com"]}, {"Origin": ORIGIN}),
        ({"AllowOrigins": ["https://other.example.com"]}, {}),
        ({"AllowOrigins": ["https://*.example.co"]}, {}),
        ({"AllowOrigins": ["*"], "AllowCredentials": True}, {"Origin": ORIGIN, "Credentials": "true"}),
        ({"AllowMethods": ["*"]}, {}),
        ({}, {}),
    ],
)
def test_a_preflight_is_answered_by_the_configuration(config: dict[str, Any], expected: dict[str, str]) -> None:
    """What is not allowed is not mentioned; with credentials the origin is named, never `*`."""
    found = dict(preflight_headers(config, asking()))
    assert {k.removeprefix("Access-Control-Allow-"): v for k, v in found.items() if k != "Vary"} == expected


def test_headers_that_a_browser_asks_for() -> None:
    """`*` allows what is asked; a list is named; the age is in seconds."""
    config = {"AllowOrigins": ["*"], "AllowHeaders": ["*"], "MaxAge": 60}
    found = dict(preflight_headers(config, asking(**{"Access-Control-Request-Headers": "x-a,x-b"})))
    assert found["Access-Control-Allow-Headers"] == "x-a,x-b"
    assert found["Access-Control-Max-Age"] == "60"
    assert (
        dict(preflight_headers({**config, "AllowHeaders": ["x-a"]}, asking()))["Access-Control-Allow-Headers"] == "x-a"
    )


def test_replies_carry_the_urls_rules_and_not_the_functions() -> None:
    """Two answers to one question would be refused by browsers."""
    config = {"AllowOrigins": [ORIGIN], "ExposeHeaders": ["x-a", "x-b"]}
    own = [("Access-Control-Allow-Origin", "https://evil.example"), ("X-A", "1")]
    assert with_cors(config, ORIGIN, own) == [
        ("X-A", "1"),
        ("Access-Control-Allow-Origin", ORIGIN),
        ("Vary", "Origin"),
        ("Access-Control-Expose-Headers", "x-a,x-b"),
    ]
    assert with_cors(config, "https://evil.example", own) == [("X-A", "1"), ("Vary", "Origin")]
