"""Invoke as a hot route: the same operation, without aiohttp before it."""

from __future__ import annotations

from typing import Final

from lambent_platform.contracts.ids import new_uuid
from lambent_platform.contracts.limits import DEFAULT_ACCOUNT, DEFAULT_REGION
from lambent_platform.gateway.aws.api import INVOKE_PREFIX, INVOKE_SUFFIX
from lambent_platform.gateway.aws.catalog import ServiceCatalog
from lambent_platform.gateway.aws.detection import read_scope
from lambent_platform.gateway.aws.errors import refusal
from lambent_platform.gateway.aws.http import HttpReply, split_query
from lambent_platform.gateway.aws.registry import RequestContext
from lambent_platform.gateway.front.front import HotRoute
from lambent_platform.gateway.front.head import Head
from lambent_platform.gateway.lambda_api.invoke import InvokeOperation, read_asked

_BEFORE: Final = len(INVOKE_PREFIX)
_AFTER: Final = len(INVOKE_SUFFIX)


class HotInvoke:
    """Answers plain Invoke requests."""

    def __init__(
        self,
        operation: InvokeOperation,
        catalog: ServiceCatalog,
        *,
        account: str = DEFAULT_ACCOUNT,
        region: str = DEFAULT_REGION,
    ) -> None:
        self._operation = operation
        self._catalog = catalog
        self._account = account
        self._region = region

    def route(self) -> HotRoute:
        """Return the route of Invoke."""
        return HotRoute(_matches, self.answer)

    async def answer(self, head: Head, body: bytes) -> HttpReply:
        """Run a function; whatever goes wrong is an answer too."""
        request_id = new_uuid()
        try:
            headers, query = head.headers, head.raw_query
            scope = read_scope(headers.get("authorization", ""), query)
            context = RequestContext(
                account=self._account, region=scope.region or self._region, request_id=request_id, headers=headers
            )
            qualifier = dict(split_query(query)).get("Qualifier") if query else None
            asked = read_asked(head.path[_BEFORE:-_AFTER], qualifier, headers, context)
            return await self._operation.answer(asked, body)
        except Exception as error:
            return refusal(error, self._catalog.get("lambda"), request_id=request_id, operation="Invoke")


def _matches(head: Head) -> bool:
    path = head.path
    if head.method != "POST" or not path.startswith(INVOKE_PREFIX) or not path.endswith(INVOKE_SUFFIX):
        return False
    name = path[_BEFORE:-_AFTER]
    # An encoded name goes the general way, which decodes it.
    return bool(name) and "/" not in name and "%" not in name
