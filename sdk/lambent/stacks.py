"""Stacks for code: SAM templates deployed and removed by the client, as `lambent deploy` and `lambent destroy` do."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from lambent.deployment import DEPLOY_TIMEOUT_S
from lambent.errors import ResourceNotFound, SpecError
from lambent.services import Services
from lambent.template.deploying import Progressing, StackDeployment, StackRemoval
from lambent.template.plan import Plan
from lambent.template.record_keeping import RecordKeeper
from lambent.template.samconfig import SamConfig, read_samconfig
from lambent.template.stack import Environment, find_template, load_stack
from lambent.transport import Transport


def default_stack_name(template: Path, config: SamConfig | None = None) -> str:
    """Return the name of a template's stack: samconfig.toml's, else its folder's, as far as that can be one."""
    config = config or read_samconfig(template.parent)
    name = re.sub(r"[^a-zA-Z0-9-]+", "-", template.resolve().parent.name).strip("-")
    return config.stack or (name if name[:1].isalpha() else f"stack-{name}".strip("-"))


class AsyncStacks:
    """What templates were deployed as.

        outputs = await client.stacks.deploy("examples/orders", parameters={"Stage": "prod"})
        await client.stacks.destroy("orders")

    Every method raises `EndpointUnreachable` where nothing answers, and `ApiError` where the platform refuses.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def deploy(
        self,
        template: str | Path,
        *,
        stack: str | None = None,
        parameters: Mapping[str, str] | None = None,
        adopt: bool = False,
        timeout_s: float = DEPLOY_TIMEOUT_S,
        progress: Progressing | None = None,
    ) -> dict[str, str]:
        """Make what a template (a file, or the folder that it is in) says, without asking, and return its outputs.

        Raises:
            SpecError: the template is wrong. PackageError: code cannot be packed. PlanError: something is there already
            that the stack did not make. DeployFailed: a function cannot be run, or somebody else deploys the stack.
        """
        deployment = await self._deployment(template, stack, parameters, adopt, timeout_s, progress)
        return await deployment.apply(await deployment.plan())

    async def plan(
        self, template: str | Path, *, stack: str | None = None, parameters: Mapping[str, str] | None = None
    ) -> Plan:
        """Return what `deploy` would do; the errors are its own."""
        return await (await self._deployment(template, stack, parameters, False, DEPLOY_TIMEOUT_S, None)).plan()

    async def names(self) -> list[str]:
        """Return the names of all stacks."""
        return await RecordKeeper(self._transport).names()

    async def destroy(self, stack: str, *, progress: Progressing | None = None) -> None:
        """Remove a stack with everything that it made.

        Raises:
            ResourceNotFound: there is none.
        """
        services = Services(self._transport)
        environment = Environment(stack, await services.account(), services.region)
        removal = StackRemoval(services, environment, progress=progress)
        if await removal.plan() is None:
            raise ResourceNotFound(f"Stack not found: {stack}")
        await removal.apply()

    async def _deployment(
        self,
        template: str | Path,
        stack: str | None,
        parameters: Mapping[str, str] | None,
        adopt: bool,
        timeout_s: float,
        progress: Progressing | None,
    ) -> StackDeployment:
        file = find_template(Path(template))
        if file is None:
            raise SpecError(f"there is no template.yaml in {template}")
        services = Services(self._transport)
        environment = Environment(stack or default_stack_name(file), await services.account(), services.region)
        given = {**read_samconfig(file.parent).parameters, **(parameters or {})}
        loaded = load_stack(file, environment, given)
        return StackDeployment(services, loaded, adopt=adopt, timeout_s=timeout_s, progress=progress)


class Stacks:
    """`AsyncStacks` for code that is not asynchronous; methods and errors are the same."""

    def __init__(self, stacks: AsyncStacks, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self._stacks = stacks
        self._run = run

    def deploy(self, template: str | Path, **given: Any) -> dict[str, str]:
        """See `AsyncStacks.deploy`."""
        outputs: dict[str, str] = self._run(self._stacks.deploy(template, **given))
        return outputs

    def plan(self, template: str | Path, **given: Any) -> Plan:
        """See `AsyncStacks.plan`."""
        plan: Plan = self._run(self._stacks.plan(template, **given))
        return plan

    def names(self) -> list[str]:
        """See `AsyncStacks.names`."""
        names: list[str] = self._run(self._stacks.names())
        return names

    def destroy(self, stack: str, **given: Any) -> None:
        """See `AsyncStacks.destroy`."""
        self._run(self._stacks.destroy(stack, **given))
