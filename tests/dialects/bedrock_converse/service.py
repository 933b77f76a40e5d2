"""The service's own model, as botocore carries it, as the judge of what is sent."""

import functools
import re

import botocore.loaders
import botocore.model
import botocore.validate
import orjson


@functools.cache
def service():
    """Load the model, once."""
    loaded = botocore.loaders.Loader().load_service_model("bedrock-runtime", "service-2")
    return botocore.model.ServiceModel(loaded)


def check_request(operation, body, model="anthropic.claude-sonnet-4-5-20250929-v1:0"):
    """Hold a rendered body to the operation's input: members, types, unions, enumerations, patterns and limits."""
    value = orjson.loads(body) if isinstance(body, bytes) else body
    shape = service().operation_model(operation).input_shape
    report = botocore.validate.ParamValidator().validate({"modelId": model, **value}, shape)
    assert not report.has_errors(), report.generate_report()
    walk(value, shape, operation)


def walk(value, shape, where):
    """Check what botocore leaves to the service."""
    if not getattr(shape, "is_document_type", False):
        check_limits(value, shape, where)
        for inner, its_shape, place in inside(value, shape):
            walk(inner, its_shape, f"{where}{place}")


def inside(value, shape):
    """Return what is within a value: each with its shape and where it stands."""
    if shape.type_name == "structure":
        return [(member, shape.members[name], f".{name}") for name, member in value.items()]
    if shape.type_name == "list":
        return [(member, shape.member, "[]") for member in value]
    if shape.type_name == "map":
        pairs = [(name, shape.key, " key") for name in value]
        return pairs + [(member, shape.value, f"[{name}]") for name, member in value.items()]
    return []


def check_limits(value, shape, where):
    """Check a value alone: how many members a union has, sizes, enumerations, patterns."""
    if getattr(shape, "is_tagged_union", False):
        assert len(value) == 1, where
    size = value if isinstance(value, int | float) else len(value)
    if shape.type_name != "structure":
        assert shape.metadata.get("min", size) <= size <= shape.metadata.get("max", size), (where, size)
    if shape.type_name == "string":
        assert not shape.enum or value in shape.enum, (where, value)
        assert re.fullmatch(shape.metadata.get("pattern", ".*"), value, re.DOTALL), (where, value)
