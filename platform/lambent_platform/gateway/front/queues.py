"""Operations on a queue's messages as hot routes: the same operations, without aiohttp before them."""

from __future__ import annotations

from typing import Final

from lambent_platform.contracts.ids import new_uuid
from lambent_platform.contracts.limits import DEFAULT_ACCOUNT, DEFAULT_REGION
from lambent_platform.gateway.aws.api import run_operation
from lambent_platform.gateway.aws.catalog import ServiceCatalog
from lambent_platform.gateway.aws.detection import read_scope
from lambent_platform.gateway.aws.errors import refusal
from lambent_platform.gateway.aws.http import HttpReply
from lambent_platform.gateway.aws.parsing import parse_json
from lambent_platform.gateway.aws.registry import Registry, RequestContext
from lambent_platform.gateway.front.front import HotRoute
from lambent_platform.gateway.front.head import Head

_PREFIX: Final = "AmazonSQS."
_RECEIVE: Final = f"{_PREFIX}ReceiveMessage"
_OTHERS: Final = frozenset(
    _PREFIX + name
    for name in (
        "SendMessage",
        "SendMessageBatch",
        "DeleteMessage",
        "DeleteMessageBatch",
        "ChangeMessageVisibility",
        "ChangeMessageVisibilityBatch",
    )
)


class HotQueues:
    """Answers plain requests of the JSON protocol."""

    def __init__(
        self,
        registry: Registry,
        catalog: ServiceCatalog,
        *,
        account: str = DEFAULT_ACCOUNT,
        region: str = DEFAULT_REGION,
    ) -> None:
        self._registry = registry
        self._catalog = catalog
        self._account = account
        self._region = region

    def routes(self) -> tuple[HotRoute, ...]:
        """Return the routes. A receive ends with its client: nobody else would get what it receives."""
        return (
            HotRoute(lambda head: _target(head) in _OTHERS, self.answer),
            HotRoute(lambda head: _target(head) == _RECEIVE, self.answer, ends_with_client=True),
        )

    async def answer(self, head: Head, body: bytes) -> HttpReply:
        """Run an operation; whatever goes wrong is an answer too."""
        request_id = new_uuid()
        service, name = self._catalog.get("sqs"), _target(head)[len(_PREFIX) :]
        try:
            scope = read_scope(head.headers.get("authorization", ""), head.raw_query)
            context = RequestContext(
                account=self._account,
                region=scope.region or self._region,
                request_id=request_id,
                base_url=f"http://{head.headers['host']}",
                path=head.path,
                raw_query=head.raw_query,
                headers=head.headers,
                access_key=scope.access_key,
            )
            served = self._registry.find("sqs", name)
            assert served is not None  # whoever has these routes serves the operations
            model = service.operation(name)
            reply = await run_operation(service, served, context, model, parse_json(model, body), "json")
            headers = {"x-amzn-RequestId": request_id, **reply.headers}
            return HttpReply(status=reply.status, headers=headers, body=reply.body)
        except Exception as error:
            return refusal(error, service, request_id=request_id, operation=name)


def _target(head: Head) -> str:
    return head.headers.get("x-amz-target", "") if head.method == "POST" else ""
