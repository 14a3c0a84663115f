"""Whose request is this? The service, the region and the access key, from what an unsigned request may also carry."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from lambent_platform.gateway.aws.catalog import ServiceCatalog

_SCOPE: Final = re.compile(r"([^/\s=,]{1,128})/\d{8}/(?:([^/\s,]*)/)?([^/\s,]+)/aws4_request")
_REGION: Final = re.compile(r"[a-z]{2}(-[a-z]+)+-\d")
_DATED_PATH: Final = re.compile(r"/\d{4}-\d{2}-\d{2}/")
_QUEUE_PATH: Final = re.compile(r"/\d{12}/[A-Za-z0-9_.-]{1,80}/?")
FORM: Final = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Scope:
    """A credential scope; every part is empty where the request has none. Not verified."""

    access_key: str = ""
    region: str = ""
    service: str = ""


def read_scope(authorization: str, raw_query: str = "") -> Scope:
    """Read the scope from an `Authorization` header, or from `X-Amz-Credential` of a presigned URL.

    A region that does not look like one is left out: it would become part of names.
    """
    text = authorization
    if not text and "X-Amz-Credential=" in raw_query:
        text = raw_query.partition("X-Amz-Credential=")[2].split("&", 1)[0].replace("%2F", "/").replace("%2f", "/")
    match = _SCOPE.search(text) if text else None
    if match is None:
        return Scope()
    region = match[2] or ""
    return Scope(match[1], region if _REGION.fullmatch(region) else "", match[3])


def split_target(catalog: ServiceCatalog, target: str) -> tuple[str, str] | None:
    """Return (service, operation) of an `X-Amz-Target`, None where its prefix belongs to no service here."""
    prefix, _, operation = target.rpartition(".")
    service = catalog.by_target.get(prefix)
    return None if service is None else (service, operation)


def rest_service(catalog: ServiceCatalog, path: str) -> str | None:
    """Return the service that a path belongs to by what it begins with."""
    for entry in catalog.entries.values():
        if entry.paths and path.startswith(entry.paths):
            return entry.name
    if _DATED_PATH.match(path):
        for entry in catalog.entries.values():
            if entry.dated_paths and catalog.get(entry.name).router.knows(path):
                return entry.name
    return None


def is_form(headers: Mapping[str, str]) -> bool:
    """Whether the body is a form, as the query protocol sends it. Names of `headers` in lower case."""
    return headers.get("content-type", "").partition(";")[0].strip().lower() == FORM


def query_action(
    catalog: ServiceCatalog, scope: Scope, fields: Sequence[tuple[str, str]], path: str = "/"
) -> tuple[str | None, str] | None:
    """Return (service, operation) of a query-protocol request, by its scope, else its `Version`, else its path.

    None without `Action`.

    The service is None where neither names one that is spoken here.
    """
    values = dict(fields)
    action = values.get("Action")
    if not action:
        return None
    if scope.service in catalog.entries:
        return scope.service, action
    service = catalog.by_api_version.get(values.get("Version", ""))
    if service is None and _QUEUE_PATH.fullmatch(path):
        service = "sqs"  # a queue's own URL
    return service, action
