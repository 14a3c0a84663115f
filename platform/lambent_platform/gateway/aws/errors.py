"""The one place where an `ApiError` becomes HTTP, in the protocol of the service that was asked."""

from __future__ import annotations

from typing import Any, Final
from xml.etree import ElementTree as ET

import orjson
import structlog

from lambent_platform.contracts.errors import ApiError, StoreUnavailable
from lambent_platform.gateway.aws.catalog import Protocol, Service
from lambent_platform.gateway.aws.http import HttpReply
from lambent_platform.gateway.aws.serialization import xml_bytes, xml_text

RETRY_AFTER_S: Final = 1
log = structlog.get_logger("gateway")


def to_api_error(error: Exception) -> ApiError:
    """Return what a client is told of any exception: never its text, unless it was raised for the client."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, StoreUnavailable):
        return ApiError("The platform's store is not available.", code="ServiceUnavailableException", status=503)
    return ApiError("An error occurred and the request cannot be processed.", code="ServiceException", status=500)


def refusal(
    error: Exception, service: Service | None, *, request_id: str, operation: str, protocol: Protocol | None = None
) -> HttpReply:
    """Write what a request is refused with, and log what an operator should know of it."""
    if isinstance(error, StoreUnavailable):
        log.warning("store_unavailable", request_id=request_id, reason=str(error))
    elif not isinstance(error, ApiError):
        log.error("request_failed", operation=operation, request_id=request_id, exc_info=error)
    return error_reply(to_api_error(error), service, request_id, protocol)


def error_reply(
    error: ApiError, service: Service | None, request_id: str, protocol: Protocol | None = None
) -> HttpReply:
    """Write an error, in a protocol or the one of the service's model; without a service, as Lambda would."""
    protocol = protocol or (service.protocol if service is not None else None)
    headers = {"x-amzn-RequestId": request_id, "x-amzn-ErrorType": error.code}
    if error.status == 503:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    names = service.query_names if service is not None else None
    if service is not None and protocol == "query":
        headers["Content-Type"] = "text/xml"
        code = names.code(error.code) if names is not None else error.code
        body = _query_body(error, code, service.model_of("query").metadata["xmlNamespace"], request_id)
        return HttpReply(status=error.status, headers=headers, body=body)
    if service is not None and protocol == "json":
        headers["Content-Type"] = f"application/x-amz-json-{service.model.metadata['jsonVersion']}"
        kind = error.code
        if names is not None:
            # What clients of the query protocol were written against travels beside the model's own name.
            fault = "Receiver" if error.status >= 500 else "Sender"
            headers["x-amzn-query-error"] = f"{names.code(error.code)};{fault}"
            kind = f"com.amazonaws.{service.name}#{error.code}"
        body = orjson.dumps({"__type": kind, "message": error.message, **error.extra})
        # These services answer every mistake of a client with 400, whatever its code.
        status = 400 if 400 <= error.status < 500 and error.status != 413 else error.status
        return HttpReply(status=status, headers=headers, body=body)
    headers["Content-Type"] = "application/json"
    return HttpReply(status=error.status, headers=headers, body=orjson.dumps(_rest_body(error, service)))


def _rest_body(error: ApiError, service: Service | None) -> dict[str, Any]:
    """Return the members of a rest-json error, by its shape where the model has one.

    Errors that the model does not know, such as ValidationException, carry a message and nothing else.
    """
    members = service.error_members.get(error.code) if service is not None else None
    if members is None:
        return {error.message_key: error.message, **error.extra}
    key = "Message" if "Message" in members else "message"
    body: dict[str, Any] = {"Type": "Service" if error.status >= 500 else "User"} if "Type" in members else {}
    return {**body, key: error.message, **error.extra}


def _query_body(error: ApiError, code: str, namespace: str, request_id: str) -> bytes:
    root = ET.Element("ErrorResponse", {"xmlns": namespace})
    inner = ET.SubElement(root, "Error")
    ET.SubElement(inner, "Type").text = "Receiver" if error.status >= 500 else "Sender"
    ET.SubElement(inner, "Code").text = code
    ET.SubElement(inner, "Message").text = xml_text(error.message)
    ET.SubElement(root, "RequestId").text = request_id
    return xml_bytes(root)
