"""Operations on stages and deployments. Source: API Gateway v2 API reference."""

from __future__ import annotations

from lambent_platform.core.apis import stages
from lambent_platform.gateway.apis.access import ApiServices, page
from lambent_platform.gateway.aws.registry import Params, RequestContext, Result, operation
from lambent_platform.store.apis import new_id


class StageOperations:
    """Serves the operations on stages and deployments. None of them changes what AutoDeploy would deploy."""

    def __init__(self, services: ApiServices) -> None:
        self._services = services

    @operation("CreateStage")
    async def create_stage(self, context: RequestContext, params: Params) -> Result:
        """Add a stage."""
        now = self._services.now()
        return await self._services.change(
            context,
            params["ApiId"],
            lambda record: stages.create_stage(record, params, now=now, new_id=new_id),
            deploys=False,
        )

    @operation("GetStage")
    async def get_stage(self, context: RequestContext, params: Params) -> Result:
        """Return a stage."""
        return stages.find_stage(await self._services.read(context, params["ApiId"]), params["StageName"])

    @operation("GetStages")
    async def get_stages(self, context: RequestContext, params: Params) -> Result:
        """List stages."""
        return page((await self._services.read(context, params["ApiId"])).stages.items(), params)

    @operation("UpdateStage")
    async def update_stage(self, context: RequestContext, params: Params) -> Result:
        """Change a stage in what is given."""
        now = self._services.now()
        return await self._services.change(
            context,
            params["ApiId"],
            lambda record: stages.update_stage(record, params["StageName"], params, now=now, new_id=new_id),
            deploys=False,
        )

    @operation("DeleteStage")
    async def delete_stage(self, context: RequestContext, params: Params) -> Result:
        """Delete a stage."""
        return await self._services.change(
            context,
            params["ApiId"],
            lambda record: (stages.delete_stage(record, params["StageName"]), {}),
            deploys=False,
        )

    @operation("DeleteRouteSettings")
    async def delete_route_settings(self, context: RequestContext, params: Params) -> Result:
        """Take the settings of one route away from a stage."""
        return await self._services.change(
            context,
            params["ApiId"],
            lambda record: (stages.without_route_settings(record, params["StageName"], params["RouteKey"]), {}),
            deploys=False,
        )

    @operation("DeleteAccessLogSettings")
    async def delete_access_log(self, context: RequestContext, params: Params) -> Result:
        """Take the settings of the access log away from a stage."""
        return await self._services.change(
            context,
            params["ApiId"],
            lambda record: (stages.without_access_log(record, params["StageName"]), {}),
            deploys=False,
        )

    @operation("CreateDeployment")
    async def create_deployment(self, context: RequestContext, params: Params) -> Result:
        """Deploy what the API is now."""
        now = self._services.now()
        return await self._services.change(
            context,
            params["ApiId"],
            lambda record: stages.create_deployment(record, params, now=now, new_id=new_id),
            deploys=False,
        )

    @operation("GetDeployment")
    async def get_deployment(self, context: RequestContext, params: Params) -> Result:
        """Return a deployment."""
        return stages.find_deployment(await self._services.read(context, params["ApiId"]), params["DeploymentId"])

    @operation("GetDeployments")
    async def get_deployments(self, context: RequestContext, params: Params) -> Result:
        """List deployments."""
        return page((await self._services.read(context, params["ApiId"])).deployments.items(), params)

    @operation("UpdateDeployment")
    async def update_deployment(self, context: RequestContext, params: Params) -> Result:
        """Describe a deployment differently."""
        return await self._services.change(
            context,
            params["ApiId"],
            lambda record: stages.update_deployment(record, params["DeploymentId"], params),
            deploys=False,
        )

    @operation("DeleteDeployment")
    async def delete_deployment(self, context: RequestContext, params: Params) -> Result:
        """Delete a deployment that no stage serves."""
        return await self._services.change(
            context,
            params["ApiId"],
            lambda record: (stages.delete_deployment(record, params["DeploymentId"]), {}),
            deploys=False,
        )
