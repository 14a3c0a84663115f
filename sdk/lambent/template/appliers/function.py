"""`AWS::Lambda::Function`, with its tags and its reserved concurrency."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

from lambent.deployment import FUNCTIONS, UPLOAD_TIMEOUT_S, FunctionWatch, Progress, function_path
from lambent.errors import ApiError, ResourceNotFound, SpecError
from lambent.package import Package
from lambent.services import segment
from lambent.template.appliers.base import LATEST_CODE, Applier, Target, flat, known, owner_of, unflat
from lambent.template.appliers.code import HOT_RELOAD, read_code
from lambent.template.graph import DEPLOYED
from lambent.template.plan import Desired, Existing
from lambent.template.values import Unknown
from lambent_platform.contracts.limits import EPHEMERAL_MB_MIN, MEMORY_MB_DEFAULT, TIMEOUT_S_DEFAULT

_NAME_CHARS_MAX: Final = 64
_PLAIN: Final = ("Runtime", "Handler", "Description", "MemorySize", "Timeout")
_CODE: Final = frozenset({"Code", "Architectures"})
"""Settings that `UpdateFunctionCode` changes."""
_OTHERWISE: Final = frozenset({"ReservedConcurrentExecutions", "RecursiveLoop"})
"""Settings with an operation of their own."""
_DEFAULT_LOOP: Final = "Terminate"


class FunctionApplier(Applier):
    """Functions; a folder's package is compared by the digest that Lambda shows."""

    optional = frozenset({"Architectures", "LoggingConfig"})
    volatile = frozenset({DEPLOYED})

    def desired(self, target: Target, logical_id: str, properties: Mapping[str, Any]) -> Desired:
        """Pack the code, and give everything else its default."""
        runtime = str(properties.get("Runtime", ""))
        if not runtime:
            raise SpecError(f"{logical_id} has no Runtime")
        try:
            code = read_code(properties["Code"], runtime, target.folder, target.template)
        except SpecError as error:
            raise SpecError(f"{logical_id}: {error}") from error
        handler = properties.get("Handler") or ("bootstrap" if runtime.startswith("provided") else "")
        if not handler:
            raise SpecError(f"{logical_id} has no Handler")
        settings: dict[str, Any] = {
            "Runtime": runtime,
            "Handler": handler,
            "Description": properties.get("Description", ""),
            "MemorySize": properties.get("MemorySize", MEMORY_MB_DEFAULT),
            "Timeout": properties.get("Timeout", TIMEOUT_S_DEFAULT),
            "EphemeralStorage": known(properties.get("EphemeralStorage", {"Size": EPHEMERAL_MB_MIN}))["Size"],
            "DeadLetterConfig": properties.get("DeadLetterConfig", {}).get("TargetArn", ""),
            "ReservedConcurrentExecutions": properties.get("ReservedConcurrentExecutions"),
            "RecursiveLoop": properties.get("RecursiveLoop", _DEFAULT_LOOP),
            "Code": code.sha256 if isinstance(code, Package) else f"{HOT_RELOAD}:{code['S3Key']}",
            **flat("Environment", known(properties.get("Environment", {})).get("Variables", {})),
            **flat("Tags", target.tags(logical_id, known(properties.get("Tags")))),
        }
        for name in ("Architectures", "LoggingConfig"):
            if name in properties:
                settings[name] = known(properties[name])
        if "LoggingConfig" in settings:
            settings["LoggingConfig"] = {"LogFormat": "Text", **settings["LoggingConfig"]}
        name = properties.get("FunctionName") or target.name(logical_id, _NAME_CHARS_MAX)
        return Desired({"FunctionName": name}, settings, payload=code)

    async def read(self, target: Target, identity: Mapping[str, str]) -> Existing | None:
        """Read configuration, tags and concurrency (`GetFunction`), and what it says of recursion."""
        name = identity["FunctionName"]
        try:
            found = await target.services.rest("lambda", "GET", function_path(name))
        except ResourceNotFound:
            return None
        config, tags = found["Configuration"], found.get("Tags", {})
        place = found.get("Code", {})
        logging = dict(config.get("LoggingConfig", {}))
        if logging.get("LogGroup") == f"/aws/lambda/{name}":
            del logging["LogGroup"]
        settings: dict[str, Any] = {
            "Runtime": config.get("Runtime", ""),
            "Handler": config.get("Handler", ""),
            "Description": config.get("Description", ""),
            "MemorySize": config.get("MemorySize"),
            "Timeout": config.get("Timeout"),
            "EphemeralStorage": config.get("EphemeralStorage", {}).get("Size", EPHEMERAL_MB_MIN),
            "DeadLetterConfig": config.get("DeadLetterConfig", {}).get("TargetArn", ""),
            "Architectures": config.get("Architectures", []),
            "LoggingConfig": logging,
            "ReservedConcurrentExecutions": found.get("Concurrency", {}).get("ReservedConcurrentExecutions"),
            "RecursiveLoop": await _recursion(target, name),
            "Code": config.get("CodeSha256", ""),
            **flat("Environment", config.get("Environment", {}).get("Variables", {})),
            **flat("Tags", tags),
        }
        if place.get("RepositoryType") == HOT_RELOAD or str(place.get("Location", "")).startswith("file:"):
            settings["Code"] = f"{HOT_RELOAD}:{str(place.get('Location', '')).removeprefix('file://')}"
        if config.get("State") == "Failed" or config.get("LastUpdateStatus") == "Failed":
            # What failed is done again, whether or not the template has changed.
            settings["Code"] = f"failed: {config.get('StateReason') or config.get('LastUpdateStatusReason', '')}"
        return Existing({"FunctionName": name}, settings, self._attributes(target, name), owner_of(tags))

    def predicted(self, target: Target, desired: Desired) -> Mapping[str, Any]:
        """Name and ARN are known beforehand."""
        name = desired.identity["FunctionName"]
        made = {DEPLOYED: Unknown("the next version")}
        return {"": name, "Arn": name, **made} if isinstance(name, Unknown) else self._attributes(target, name) | made

    async def create(self, target: Target, logical_id: str, desired: Desired) -> Existing:
        """Upload it, and wait until it can be called."""
        name = str(desired.identity["FunctionName"])
        body = {
            "FunctionName": name,
            "Role": target.arn("iam", f"role/{target.stack}").replace(f":{target.environment.region}:", "::"),
            "Code": _code(desired.payload),
            "Tags": unflat("Tags", desired.settings),
            **_configuration(desired.settings),
        }
        if "Architectures" in desired.settings:
            body["Architectures"] = desired.settings["Architectures"]
        await self._upload(target, "POST", FUNCTIONS, body, desired.payload)
        await self._watch(target, name).finish()
        target.tell(Progress("active"))
        await self._set_otherwise(target, name, desired, {key for key in _OTHERWISE if _is_set(key, desired)})
        return await self._read_back(target, name)

    async def update(self, target: Target, existing: Existing, desired: Desired, changed: frozenset[str]) -> Existing:
        """Change configuration, code, tags and concurrency, each where it differs."""
        name = existing.identity["FunctionName"]
        watch = self._watch(target, name)
        await watch.settle(await watch.get())
        tags = {key for key in changed if key.startswith("Tags.")}
        if changed - _CODE - _OTHERWISE - tags:
            await target.services.rest(
                "lambda", "PUT", function_path(name) + "/configuration", _configuration(desired.settings)
            )
            if changed & _CODE:
                # The old code may not suit the new configuration; only what both give together is judged.
                await watch.settle(await watch.get())
        if changed & _CODE:
            body: dict[str, Any] = dict(_code(desired.payload))
            if "Architectures" in desired.settings:
                body["Architectures"] = desired.settings["Architectures"]
            await self._upload(target, "PUT", function_path(name) + "/code", body, desired.payload)
        await watch.finish()
        target.tell(Progress("active"))
        await self._set_otherwise(target, name, desired, changed & _OTHERWISE)
        if tags:
            await self._set_tags(target, existing, desired, tags)
        return await self._read_back(target, name)

    async def delete(self, target: Target, identity: Mapping[str, str]) -> None:
        """Delete it with all its versions."""
        try:
            await target.services.rest("lambda", "DELETE", function_path(identity["FunctionName"]))
        except ResourceNotFound:
            return

    def _attributes(self, target: Target, name: str) -> dict[str, Any]:
        return {"": name, "Arn": target.arn("lambda", f"function:{name}"), DEPLOYED: LATEST_CODE}

    def _watch(self, target: Target, name: str) -> FunctionWatch:
        return FunctionWatch(target.services.transport, name, target.tell, timeout_s=target.timeout_s)

    async def _read_back(self, target: Target, name: str) -> Existing:
        found = await self.read(target, {"FunctionName": name})
        if found is None:
            raise ResourceNotFound(f"Function not found: {name}: somebody deleted it in the meantime")
        return found

    async def _upload(self, target: Target, method: str, path: str, body: Mapping[str, Any], package: Any) -> None:
        if isinstance(package, Package):
            target.tell(Progress("packed", files=package.files, total=len(package.content)))

        def report(done: int, total: int) -> None:
            target.tell(Progress("uploading", done=done, total=total))

        await target.services.rest("lambda", method, path, body, timeout_s=UPLOAD_TIMEOUT_S, on_progress=report)

    async def _set_otherwise(
        self, target: Target, name: str, desired: Desired, changed: set[str] | frozenset[str]
    ) -> None:
        if "ReservedConcurrentExecutions" in changed:
            reserved = desired.settings["ReservedConcurrentExecutions"]
            path = f"/2017-10-31/functions/{segment(name)}/concurrency"
            if reserved is None:
                await target.services.rest("lambda", "DELETE", path)
            else:
                await target.services.rest("lambda", "PUT", path, {"ReservedConcurrentExecutions": reserved})
        if "RecursiveLoop" in changed:
            await target.services.rest(
                "lambda", "PUT", _recursion_path(name), {"RecursiveLoop": desired.settings["RecursiveLoop"]}
            )

    async def _set_tags(self, target: Target, existing: Existing, desired: Desired, changed: set[str]) -> None:
        path = f"/2017-03-31/tags/{segment(existing.attributes['Arn'])}"
        wanted = unflat("Tags", desired.settings)
        names = {key.removeprefix("Tags.") for key in changed}
        gone = sorted(names - set(wanted))
        if gone:
            query = "&".join(f"tagKeys={segment(key)}" for key in gone)
            await target.services.rest("lambda", "DELETE", f"{path}?{query}")
        given = {key: wanted[key] for key in sorted(names & set(wanted))}
        if given:
            await target.services.rest("lambda", "POST", path, {"Tags": given})


def _configuration(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that creating and updating have in common."""
    body: dict[str, Any] = {key: settings[key] for key in _PLAIN}
    body["EphemeralStorage"] = {"Size": settings["EphemeralStorage"]}
    body["Environment"] = {"Variables": unflat("Environment", settings)}
    body["DeadLetterConfig"] = {"TargetArn": settings["DeadLetterConfig"]}
    if "LoggingConfig" in settings:
        body["LoggingConfig"] = settings["LoggingConfig"]
    return body


def _code(payload: Any) -> dict[str, Any]:
    if isinstance(payload, Package):
        return {"ZipFile": base64.b64encode(payload.content).decode()}
    return dict(payload)


def _is_set(key: str, desired: Desired) -> bool:
    value = desired.settings.get(key)
    return value is not None and not (key == "RecursiveLoop" and value == _DEFAULT_LOOP)


def _recursion_path(name: str) -> str:
    return f"/2024-08-31/functions/{segment(name)}/recursion-config"


async def _recursion(target: Target, name: str) -> str:
    try:
        found = await target.services.rest("lambda", "GET", _recursion_path(name))
    except ApiError as error:
        if error.status == 501:
            return _DEFAULT_LOOP
        raise
    return str(found.get("RecursiveLoop", _DEFAULT_LOOP))
