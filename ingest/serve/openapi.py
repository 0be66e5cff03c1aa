"""The OpenAPI document of the operations, from their types."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from ingest.serve.constraints import NAME, NOT_BLANK
from ingest.serve.endpoint import Endpoint, adapter_of
from ingest.serve.problems import PROBLEM_TYPE, Problem

_REFERENCE = "#/components/schemas/{model}"

_PARAMETER = re.compile(r"{(\w+)(?::\w+)?}")

_PATH_PARAMETERS: Mapping[str, Mapping[str, Any]] = {
    "name": {"description": "Name of a collection, in any spelling.", "schema": NAME},
    "model": {"description": "Registry key of a model.", "schema": {"type": "string", "minLength": 1, **NOT_BLANK}},
    "doc_id": {"description": "Id of a document.", "schema": {"type": "string", "minLength": 1, **NOT_BLANK}},
}

_FAILURES = {
    "401": "No token, or an unknown one.",
    "403": "The token does not allow it.",
    "404": "There is no such collection, document or model.",
    "409": "The collection has no such vector or document, or several; or it is in use.",
    "422": "The request is wrong.",
    "429": "Too many requests are waiting.",
    "default": "Any other problem.",
}


def openapi_document(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """Return the document: OpenAPI 3.1, in which schemas are plain JSON Schema."""
    described = list(endpoints)
    schemas, definitions = _schemas(described)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in described:
        path = _PARAMETER.sub(r"{\1}", endpoint.path)
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ingest",
            "version": version("qdrant-ingest"),
            "description": "Hybrid search over collections that ingest keeps equal to documents.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": definitions,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "A token of the token file."}},
        },
    }


def _schemas(endpoints: list[Endpoint]) -> tuple[Mapping[Any, Any], dict[str, Any]]:
    """Return type → schema, and the definitions that the schemas refer to. Types that are bodies are described as input."""
    kinds: dict[Any, str] = {each.body: "validation" for each in endpoints if each.body is not None}
    kinds |= {each.answer: "serialization" for each in endpoints if not isinstance(each.answer, str)}
    kinds[Problem] = "serialization"
    generator = GenerateJsonSchema(ref_template=_REFERENCE)
    inputs: Any = [(kind, mode, adapter_of(kind).core_schema) for kind, mode in kinds.items()]
    found, definitions = generator.generate_definitions(inputs)
    return {kind: schema for (kind, _), schema in found.items()}, {str(name): schema for name, schema in definitions.items()}


def _operation(endpoint: Endpoint, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    media, schema = (
        (endpoint.answer, {"type": "string"})
        if isinstance(endpoint.answer, str)
        else ("application/json", schemas[endpoint.answer])
    )
    public = endpoint.access == "public"
    operation: dict[str, Any] = {
        "operationId": f"{endpoint.method.lower()}_{endpoint.handle.__name__}",
        "summary": endpoint.summary,
        "tags": list(endpoint.tags),
        "parameters": [*_path_parameters(endpoint.path), *_query_parameters(endpoint.query)],
        "responses": {
            str(endpoint.status): {"description": "The answer.", "content": {media: {"schema": schema}}},
            **{
                status: {"description": text, "content": {PROBLEM_TYPE: {"schema": schemas[Problem]}}}
                for status, text in _FAILURES.items()
            },
        },
        "security": [] if public else [{}, {"token": []}],
    }
    if endpoint.body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schemas[endpoint.body]}}}
    return operation


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            **_PATH_PARAMETERS[name],
        }
        for name in _PARAMETER.findall(path)
    ]


def _query_parameters(model: type[BaseModel] | None) -> list[dict[str, Any]]:
    if model is None:
        return []
    described = model.model_json_schema()
    required = described.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in required, **_parameter(schema)}
        for name, schema in described["properties"].items()
    ]


def _parameter(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a query parameter. It cannot be null: leave it out for the default."""
    values = {name: value for name, value in schema.items() if name not in {"title", "description", "default"}}
    if "anyOf" in values:
        [values] = [each for each in values["anyOf"] if each != {"type": "null"}]
    return {"description": schema.get("description", ""), "schema": values}
