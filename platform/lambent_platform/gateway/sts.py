"""STS, as far as tools ask it who they are.

Source: AWS STS API reference, "GetCallerIdentity".
"""

from __future__ import annotations

from lambent_platform.gateway.aws.registry import Params, RequestContext, Result, operation


class TokenOperations:
    """Serves GetCallerIdentity. Signatures are not verified, so every caller is the account's root."""

    @operation("GetCallerIdentity")
    async def get_caller_identity(self, context: RequestContext, params: Params) -> Result:
        """Answer with the platform's account."""
        return {
            "UserId": context.account,
            "Account": context.account,
            "Arn": f"arn:aws:iam::{context.account}:root",
        }
