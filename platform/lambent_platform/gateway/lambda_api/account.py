"""The account, and what tools ask of every function although nothing of it is served.

Source: Lambda API reference, `GetAccountSettings`, `GetFunctionCodeSigningConfig`.
"""

from __future__ import annotations

from typing import Final

from lambent_platform.contracts import limits
from lambent_platform.gateway.aws.registry import Params, RequestContext, Result, operation
from lambent_platform.gateway.lambda_api.access import LambdaServices, read, unqualified

CODE_STORAGE_BYTES: Final = 75 * 1024 * limits.MIB
"""Lambda's storage for packages per region; shown, and as far as the disk goes."""


class AccountOperations:
    """Serves the operations on the account."""

    def __init__(self, services: LambdaServices) -> None:
        self._functions = services.functions

    @operation("GetAccountSettings")
    async def get_account_settings(self, context: RequestContext, params: Params) -> Result:
        """Return the account's limits and what it uses of them in this region."""
        count, code_bytes = await self._functions.usage(context.account, context.region)
        concurrency = self._functions.account_concurrency
        return {
            "AccountLimit": {
                "TotalCodeSize": CODE_STORAGE_BYTES,
                "CodeSizeUnzipped": limits.UNZIPPED_BYTES,
                "CodeSizeZipped": limits.ZIP_BYTES,
                "ConcurrentExecutions": concurrency,
                "UnreservedConcurrentExecutions": concurrency - await self._functions.reserved(),
            },
            "AccountUsage": {"TotalCodeSize": code_bytes, "FunctionCount": count},
        }

    @operation("GetFunctionCodeSigningConfig")
    async def get_function_code_signing_config(self, context: RequestContext, params: Params) -> Result:
        """Say that a function has no code signing: both members, which the model requires, the ARN empty."""
        ref = unqualified(context, params)
        await read(self._functions, ref)
        return {"CodeSigningConfigArn": "", "FunctionName": ref.name}
