"""Java's regular expressions in Python, and every pattern of the models that are spoken."""

from __future__ import annotations

import pytest

from lambent_platform.gateway.aws.catalog import SERVICES, ServiceCatalog
from lambent_platform.gateway.aws.patterns import compile_pattern

TAG = r"[\p{L}\p{Z}\p{N}_.:/=+\-@]*"


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        (TAG, "Köln 7/ü=@", True),
        (TAG, "a#b", False),
        (r"[\w-_]*", "a-b_c", True),
        (r"[\w-_]*", "a.b", False),
        (r"\d{3}", "123", True),
        (r"\d{3}", "١٢٣", False),
        (r"[a-z]+", "ab\n", False),
        (r".*", "a\nb", False),
        (r"(|[a-z]+)", "", True),
    ],
)
def test_patterns(pattern: str, text: str, matches: bool) -> None:
    """Categories, hyphens after a class and ASCII digits mean what they mean in Java."""
    compiled = compile_pattern(pattern)
    assert compiled is not None
    assert (compiled.fullmatch(text) is not None) is matches


@pytest.mark.parametrize("pattern", [r"\p{IsGreek}", r"[unclosed"])
def test_patterns_that_python_cannot_say_are_not_checked(pattern: str) -> None:
    """What cannot be compiled lets everything through, rather than failing every request."""
    assert compile_pattern(pattern) is None


@pytest.mark.parametrize("service", [entry.name for entry in SERVICES if entry.query is None])
def test_every_pattern_of_the_models_compiles(service: str) -> None:
    """No constraint of a spoken service is silently unchecked."""
    model = ServiceCatalog().get(service).model
    patterns = {model.shape_for(name).metadata.get("pattern") for name in model.shape_names} - {None}
    assert patterns or service == "apigatewaymanagementapi"  # its model has none
    assert [pattern for pattern in patterns if compile_pattern(pattern) is None] == []
