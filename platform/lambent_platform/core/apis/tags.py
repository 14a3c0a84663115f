"""Tags of APIs and stages. Source: API Gateway Developer Guide, "Tagging your API Gateway resources"."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from lambent_platform.contracts.apis import ApiRecord
from lambent_platform.core.apis.problems import bad_request, not_found

TAGS_MAX: Final = 50
KEY_CHARACTERS_MAX, VALUE_CHARACTERS_MAX = 128, 256
_ARN: Final = re.compile(r"^arn:aws[a-z-]*:apigateway:[a-z0-9-]+::/apis/(?P<api>[^/]+)(?:/stages/(?P<stage>[^/]+))?$")


def tagged_resource(arn: str) -> tuple[str, str | None]:
    """Return the API's id and the stage's name (None for the API itself) that an ARN names.

    Raises:
        ApiError: BadRequestException for what is no ARN of an API or stage.
    """
    match = _ARN.match(arn)
    if match is None:
        raise bad_request(f"Invalid ARN for Resource: {arn[:256]}")
    return match["api"], match["stage"]


def tags_of(record: ApiRecord, stage: str | None) -> Mapping[str, str]:
    """Return the tags of an API or of one of its stages.

    Raises:
        ApiError: NotFoundException.
    """
    tags: Mapping[str, str] = _owner(record, stage).get("Tags", {})
    return tags


def with_tags(record: ApiRecord, stage: str | None, tags: Mapping[str, str]) -> ApiRecord:
    """Return the API with the tags of itself or of one stage replaced.

    Raises:
        ApiError: NotFoundException, BadRequestException.
    """
    check_tags(tags)
    owner = {**_owner(record, stage), "Tags": dict(tags)}
    if stage is None:
        return replace(record, settings=owner)
    return replace(record, stages={**record.stages, stage: owner})


def check_tags(tags: Mapping[str, str]) -> None:
    """Refuse what no resource can be tagged with.

    Raises:
        ApiError: BadRequestException.
    """
    if len(tags) > TAGS_MAX:
        raise bad_request(f"A resource can have at most {TAGS_MAX} tags")
    for key, value in tags.items():
        if not 1 <= len(key) <= KEY_CHARACTERS_MAX or key.startswith("aws:"):
            raise bad_request(f"Invalid tag key: {key[:KEY_CHARACTERS_MAX]}")
        if len(value) > VALUE_CHARACTERS_MAX:
            raise bad_request(f"The value of tag {key} has more than {VALUE_CHARACTERS_MAX} characters")


def _owner(record: ApiRecord, stage: str | None) -> Mapping[str, Any]:
    if stage is None:
        return record.settings
    if stage not in record.stages:
        raise not_found("stage", stage)
    return record.stages[stage]
