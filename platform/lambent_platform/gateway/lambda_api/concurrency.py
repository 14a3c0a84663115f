"""Reserved concurrency.

Source: Lambda API reference, `PutFunctionConcurrency`, `GetFunctionConcurrency`, `DeleteFunctionConcurrency`.
"""

from __future__ import annotations

from dataclasses import replace

from lambent_platform.contracts.function import FunctionRecord
from lambent_platform.core.configuration import invalid
from lambent_platform.gateway.aws.registry import Params, RequestContext, Result, operation
from lambent_platform.gateway.lambda_api.access import LambdaServices, change, named, read, unqualified
from lambent_platform.store.functions import ReservationExceeded


class ConcurrencyOperations:
    """Serves the operations on reserved concurrency."""

    def __init__(self, services: LambdaServices) -> None:
        self._functions = services.functions

    @operation("PutFunctionConcurrency")
    async def put_function_concurrency(self, context: RequestContext, params: Params) -> Result:
        """Reserve concurrency for a function, as long as enough is left for all the others."""
        ref = named(context, params)
        if ref.qualifier is not None:
            raise invalid("Reserved concurrency can be set for a whole function only, not for a version or an alias.")
        wanted: int = params["ReservedConcurrentExecutions"]

        def decide(record: FunctionRecord) -> tuple[FunctionRecord, None]:
            return replace(record, reserved_concurrency=wanted), None

        try:
            await change(self._functions, ref, decide)
        except ReservationExceeded:
            left = self._functions.account_concurrency - self._functions.reservable
            raise invalid(
                "Specified ReservedConcurrentExecutions for function decreases account's "
                f"UnreservedConcurrentExecution below its minimum value of [{left}]."
            ) from None
        return {"ReservedConcurrentExecutions": wanted}

    @operation("GetFunctionConcurrency")
    async def get_function_concurrency(self, context: RequestContext, params: Params) -> Result:
        """Return what is reserved for a function; nothing where nothing is."""
        record = await read(self._functions, unqualified(context, params))
        return {"ReservedConcurrentExecutions": record.reserved_concurrency}

    @operation("DeleteFunctionConcurrency")
    async def delete_function_concurrency(self, context: RequestContext, params: Params) -> Result:
        """Give a function's reserved concurrency back."""

        def decide(record: FunctionRecord) -> tuple[FunctionRecord, None]:
            return replace(record, reserved_concurrency=None), None

        await change(self._functions, unqualified(context, params), decide)
        return {}
