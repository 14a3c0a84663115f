"""One or two gateways on an empty store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from api_gateway import Gateway
from lambent_platform.gateway.aws.catalog import ServiceCatalog


@pytest.fixture
def gateway(redis_url: str, service_catalog: ServiceCatalog) -> Iterator[Gateway]:
    """A gateway with an empty store."""
    made = Gateway(redis_url, service_catalog)
    stop = made.start()
    try:
        yield made
    finally:
        stop()


@pytest.fixture
def other_gateway(redis_url: str, service_catalog: ServiceCatalog, gateway: Gateway) -> Iterator[Gateway]:
    """A second gateway on the same store, with the same functions."""
    made = Gateway(redis_url, service_catalog, handlers=gateway.handlers, flush=False)
    stop = made.start()
    try:
        yield made
    finally:
        stop()
