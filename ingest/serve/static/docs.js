// Shows /openapi.json: one section for each operation, and one for each type that they name.

import { element, table } from "./dom.js";

const response = await fetch("/openapi.json");
const described = await response.json();
const types = described.components.schemas;

document.getElementById("operations").replaceChildren(
  ...Object.entries(described.paths).flatMap(([path, operations]) =>
    Object.entries(operations).map(([method, operation]) => operationSection(method, path, operation)),
  ),
  ...Object.entries(types).map(([name, schema]) => typeSection(name, schema)),
);

function operationSection(method, path, operation) {
  const heading = element("h2", {}, element("span", { class: "method" }, method.toUpperCase()), " ", element("code", {}, path));
  const parameters = operation.parameters.map((each) => [each.name, each.schema, each.description]);
  const body = operation.requestBody?.content["application/json"].schema;
  return element(
    "section",
    { class: "operation" },
    heading,
    element("p", {}, operation.summary),
    fieldTable("Parameters", parameters),
    body && fieldTable("JSON body", fields(body)),
    fieldTable("Answer", fields(Object.values(operation.responses["200"].content)[0].schema)),
  );
}

function typeSection(name, schema) {
  return element(
    "section",
    { class: "operation", id: name },
    element("h2", {}, element("code", {}, name)),
    // What it is, without the list of its fields, which the table has.
    element("p", {}, (schema.description ?? "").split("\n\nAttributes:")[0]),
    fieldTable("Fields", fields(schema)),
  );
}

function fieldTable(caption, rows) {
  if (!rows.length) return null;
  const told = rows.some(([, , description]) => description);
  const headings = told ? ["name", "type", "what it is"] : ["name", "type"];
  const cells = rows.map(([name, schema, description]) => [name, element("span", {}, ...typeOf(schema)), description ?? ""]);
  return table(caption, headings, cells.map((row) => row.slice(0, headings.length)));
}

function fields(schema) {
  const resolved = schema.$ref ? types[schema.$ref.split("/").pop()] : schema;
  return Object.entries(resolved.properties ?? {}).map(([name, each]) => [name, each, each.description]);
}

// The type as text, and links to the types that it names.
function typeOf(schema) {
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    return [element("a", { href: `#${name}` }, name)];
  }
  if (schema.anyOf) return schema.anyOf.flatMap((each, number) => [...(number ? [" | "] : []), ...typeOf(each)]);
  if (schema.enum) return [schema.enum.map((value) => JSON.stringify(value)).join(" | ")];
  if (schema.const !== undefined) return [JSON.stringify(schema.const)];
  if (schema.type === "array") return ["list of ", ...typeOf(schema.items ?? {})];
  if (schema.type === "object" && schema.additionalProperties?.type !== undefined) {
    return ["map of ", ...typeOf(schema.additionalProperties)];
  }
  return [schema.type ?? "any"];
}
