"""Whether a changed schema breaks anybody. Pure.

Commands: every message that was valid must stay valid, or clients break. Facts (replies, events, status, progress):
every message that will be published must be readable by whoever relied on the old schema: nothing removed, nothing of
another type, nothing optional that was always there. A fact may gain fields and its enumerations may gain values;
readers must expect both.

The check errs on the side of refusing: a change it cannot follow counts as incompatible.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from schemas.messages import Role

Schema = Mapping[str, Any]

_LOWER_BOUNDS = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER_BOUNDS = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_MUST_EQUAL = ("pattern", "format", "oneOf", "allOf", "not", "multipleOf", "uniqueItems")
_ANNOTATIONS = frozenset({"title", "description", "default", "examples", "$schema", "$id", "$defs", "deprecated"})
_UNDERSTOOD = frozenset(
    {*_LOWER_BOUNDS, *_UPPER_BOUNDS, *_MUST_EQUAL, *_ANNOTATIONS}
    | {
        "type",
        "enum",
        "const",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "prefixItems",
        "anyOf",
        "$ref",
    }
)


def incompatibilities(old: Schema, new: Schema, role: Role) -> list[str]:
    """What the change from `old` to `new` breaks, each with the path of the field; empty if nothing."""
    if role == "command":
        return list(_Containment(source=old, target=new, tolerant=False).check())
    return list(_Containment(source=new, target=old, tolerant=True).check())


@dataclass(frozen=True)
class _Containment:
    """Is every value of `source` acceptable to whoever expects `target`? `tolerant`: the target's readers ignore fields
    they do not know and expect new values of enumerations, but rely on the fields they know."""

    source: Schema
    target: Schema
    tolerant: bool

    def check(self) -> Iterator[str]:
        yield from self._compare(self.source, self.target, "")

    def _compare(self, source: Schema, target: Schema, path: str) -> Iterator[str]:
        source, target = _resolved(source, self.source), _resolved(target, self.target)
        unknown = (set(source) | set(target)) - _UNDERSTOOD
        if unknown and source != target:
            yield f"{path or '(body)'}: uses {', '.join(sorted(unknown))}, which this check does not follow"
            return
        if "anyOf" in source or "anyOf" in target:
            yield from self._compare_alternatives(source, target, path)
            return
        yield from self._compare_types(source, target, path)
        yield from self._compare_values(source, target, path)
        yield from self._compare_limits(source, target, path)
        yield from self._compare_objects(source, target, path)
        yield from self._compare_arrays(source, target, path)

    def _compare_alternatives(self, source: Schema, target: Schema, path: str) -> Iterator[str]:
        accepted = target.get("anyOf", [target])
        for alternative in source.get("anyOf", [source]):
            if not any(not list(self._compare(alternative, choice, path)) for choice in accepted):
                wanted = alternative.get("type") or alternative.get("$ref") or "an alternative"
                yield f"{path or '(body)'}: {wanted} {self._refused()}"

    def _compare_types(self, source: Schema, target: Schema, path: str) -> Iterator[str]:
        have, want = source.get("type"), target.get("type")
        if have == want or want is None or (have == "integer" and want == "number"):
            return
        if self.tolerant and have is None and ("enum" in source or "const" in source):
            return
        yield f"{path or '(body)'}: type {have} {self._refused()}: {want} is expected"

    def _compare_values(self, source: Schema, target: Schema, path: str) -> Iterator[str]:
        allowed = _values(target)
        if allowed is None:
            return
        offered = _values(source)
        if offered is None:
            yield f"{path or '(body)'}: any value {self._refused()}: one of {allowed} is expected"
        elif not self.tolerant and (missing := [value for value in offered if value not in allowed]):
            yield f"{path or '(body)'}: {missing} {self._refused()}"

    def _compare_limits(self, source: Schema, target: Schema, path: str) -> Iterator[str]:
        for name in _LOWER_BOUNDS:
            if name in target and (name not in source or source[name] < target[name]):
                yield f"{path or '(body)'}: {name} is {target[name]}, and was {source.get(name, 'not there')}"
        for name in _UPPER_BOUNDS:
            if name in target and (name not in source or source[name] > target[name]):
                yield f"{path or '(body)'}: {name} is {target[name]}, and was {source.get(name, 'not there')}"
        for name in _MUST_EQUAL:
            if name in target and source.get(name) != target[name]:
                yield f"{path or '(body)'}: {name} differs"

    def _compare_objects(self, source: Schema, target: Schema, path: str) -> Iterator[str]:
        offered, expected = source.get("properties", {}), target.get("properties", {})
        closed = target.get("additionalProperties") is False
        for name in sorted(set(offered) | set(expected)):
            here = f"{path}.{name}" if path else name
            if name not in expected:
                if closed and not self.tolerant:
                    yield f"{here}: the field was removed"
            elif name not in offered:
                if self.tolerant:
                    yield f"{here}: the field was removed"
            else:
                yield from self._compare(offered[name], expected[name], here)
        for name in sorted(set(target.get("required", ())) - set(source.get("required", ()))):
            if name in offered or not self.tolerant:
                here = f"{path}.{name}" if path else name
                yield f"{here}: is optional now" if self.tolerant else f"{here}: is required now"
        more, wanted = source.get("additionalProperties", True), target.get("additionalProperties", True)
        if isinstance(wanted, Mapping):
            if not isinstance(more, Mapping):
                yield f"{path or '(body)'}: values of any type {self._refused()}"
            else:
                yield from self._compare(more, wanted, f"{path}.*")

    def _compare_arrays(self, source: Schema, target: Schema, path: str) -> Iterator[str]:
        if "items" in target and "items" in source:
            yield from self._compare(source["items"], target["items"], f"{path}[]")
        elif "items" in target and "prefixItems" not in source:
            yield f"{path or '(body)'}: items of any type {self._refused()}"
        have, want = source.get("prefixItems"), target.get("prefixItems")
        if want is not None:
            if have is None or len(have) != len(want):
                yield f"{path or '(body)'}: a list of another length {self._refused()}"
            else:
                for number, (one, other) in enumerate(zip(have, want, strict=True)):
                    yield from self._compare(one, other, f"{path}[{number}]")

    def _refused(self) -> str:
        return "is new to readers" if self.tolerant else "is no longer accepted"


def _resolved(schema: Schema, root: Schema) -> Schema:
    while "$ref" in schema:
        name = str(schema["$ref"]).removeprefix("#/$defs/")
        schema = root["$defs"][name]
    return schema


def _values(schema: Schema) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    return schema.get("enum")
