"""Whether a function may be part of a loop of invocations.

Source: Lambda API reference, `PutFunctionRecursionConfig`, `GetFunctionRecursionConfig`.
"""

from __future__ import annotations

from dataclasses import replace

from lambent_platform.contracts.function import FunctionRecord
from lambent_platform.gateway.aws.registry import Params, RequestContext, Result, operation
from lambent_platform.gateway.lambda_api.access import LambdaServices, change, read, unqualified


class RecursionOperations:
    """Serves the operations on the guard against loops."""

    def __init__(self, services: LambdaServices) -> None:
        self._functions = services.functions

    @operation("PutFunctionRecursionConfig")
    async def put_function_recursion_config(self, context: RequestContext, params: Params) -> Result:
        """Let a function be stopped when it is part of a loop, or not."""

        def decide(record: FunctionRecord) -> tuple[FunctionRecord, None]:
            return replace(record, recursive_loop=params["RecursiveLoop"]), None

        await change(self._functions, unqualified(context, params), decide)
        return {"RecursiveLoop": params["RecursiveLoop"]}

    @operation("GetFunctionRecursionConfig")
    async def get_function_recursion_config(self, context: RequestContext, params: Params) -> Result:
        """Return what becomes of an invocation that is part of a loop; `Terminate` where nothing was said."""
        record = await read(self._functions, unqualified(context, params))
        return {"RecursiveLoop": record.recursive_loop}
