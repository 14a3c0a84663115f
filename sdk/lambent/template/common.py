"""The `Globals` section: what every resource of a type has in common.

Mappings are merged, lists put together with what is common first, anything else is the resource's own where it has it.
Source: AWS SAM Developer Guide, "Globals section".
"""

from __future__ import annotations

from typing import Any

from lambent.template.properties import GLOBALS, SAM_TYPES
from lambent.template.values import Intrinsic, Map, Place, Seq


def read_globals(section: Any) -> dict[str, Map]:
    """Return what the section says: type → common properties.

    Raises:
        TemplateError: it has something that is not known.
    """
    place = Place("Globals")
    found: dict[str, Map] = {}
    if section is None:
        return found
    if not isinstance(section, Map):
        raise place.of(section).error("must be a mapping")
    for name, properties in section.items():
        here = place.at(section, name)
        if name not in GLOBALS:
            raise here.error(f"is not known here; {', '.join(GLOBALS)} are")
        if not isinstance(properties, Map):
            raise here.error("must be a mapping")
        for key in properties:
            if key not in SAM_TYPES[GLOBALS[name]].keys or key in ("Events", "Policies", "Role", "FunctionName"):
                raise here.at(properties, key).error("is not a property that Globals may have")
        found[GLOBALS[name]] = properties
    return found


def merged(common: Map, own: Map, ignored: Any) -> Map:
    """Return a resource's own properties with the common ones, but for those that `IgnoreGlobals` names."""
    if ignored == "*":
        return own
    left_out = [each for each in ignored if isinstance(each, str)] if isinstance(ignored, Seq) else []
    kept = Map({key: value for key, value in common.items() if key not in left_out}, line=common.line)
    kept.lines = dict(common.lines)
    result: Map = _merge(kept, own)
    return result


def _merge(common: Any, own: Any) -> Any:
    if isinstance(common, Map) and isinstance(own, Map):
        result = Map(line=own.line or common.line)
        for key in [*common, *(key for key in own if key not in common)]:
            if key in own:
                value = _merge(common[key], own[key]) if key in common else own[key]
                result.put(key, value, own.lines.get(key, own.line))
            else:
                result.put(key, common[key], common.lines.get(key, common.line))
        return result
    if isinstance(common, Seq) and isinstance(own, Seq) and not isinstance(own, Intrinsic):
        result_list = Seq([*common, *own], line=own.line)
        result_list.lines = [*common.lines, *own.lines]
        return result_list
    return own
