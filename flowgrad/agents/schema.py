"""Makes the JSON Schema of the answers from their types, and reads the one that is shipped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flowgrad.agents.answers import ANSWERS, SCHEMA_VERSION
from flowgrad.errors import FlowGradError

SHIPPED = Path(__file__).with_name("schema.json")
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema(verb: str = "") -> dict[str, Any]:
    """Read the schema of a verb's answer; of all, one of which an answer is, where none is named.

    Raises:
        FlowGradError: there is no such verb.
    """
    whole: dict[str, Any] = json.loads(SHIPPED.read_text(encoding="utf-8"))
    if not verb:
        return whole
    if verb not in ANSWERS:
        raise FlowGradError(f"no answer has the name {verb!r}; there are {', '.join(ANSWERS)}")
    name = ANSWERS[verb].__name__
    kept = whole["$defs"]
    return {"$schema": _DIALECT, "$defs": kept, "$ref": f"#/$defs/{name}", "title": name}


def made() -> str:
    """Make the schema from the types in `flowgrad.agents.answers`, as it is shipped; needs pydantic."""
    from functools import reduce
    from operator import or_

    from pydantic import ConfigDict, TypeAdapter
    from pydantic.json_schema import GenerateJsonSchema

    class Untitled(GenerateJsonSchema):
        """Leaves out titles that repeat the name of a field."""

        def field_title_should_be_set(self, schema: Any) -> bool:
            """Never."""
            return False

    described = ConfigDict(use_attribute_docstrings=True, extra="forbid")
    union = reduce(or_, ANSWERS.values())
    adapter: TypeAdapter[Any] = TypeAdapter(dict[str, union], config=described)  # type: ignore[valid-type]
    content = {
        "$schema": _DIALECT,
        "title": "Answers of flowgrad",
        "description": f"Answers of the verbs, version {SCHEMA_VERSION}: `answer` says which it is.",
        "oneOf": [{"$ref": f"#/$defs/{form.__name__}"} for form in ANSWERS.values()],
        "$defs": adapter.json_schema(schema_generator=Untitled)["$defs"],
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
