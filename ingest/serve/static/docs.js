// Shows /openapi.json: one section for each operation.

import { element, table } from "./dom.js";

const response = await fetch("/openapi.json");
const described = await response.json();

document
  .getElementById("operations")
  .replaceChildren(
    ...Object.entries(described.paths).flatMap(([path, operations]) =>
      Object.entries(operations).map(([method, operation]) => section(method, path, operation)),
    ),
  );

function section(method, path, operation) {
  const made = element(
    "section",
    { class: "operation" },
    element("h2", {}, element("span", { class: "method" }, method.toUpperCase()), " ", element("code", {}, path)),
    element("p", {}, operation.summary),
  );
  const headings = ["name", "type", "what it is"];
  const parameters = operation.parameters.map((each) => [each.name, typeOf(each.schema), each.description ?? ""]);
  if (parameters.length) made.append(table("Parameters", headings, parameters));
  const body = operation.requestBody?.content["application/json"].schema;
  if (body) made.append(table("JSON body", headings, properties(body)));
  const rows = properties(Object.values(operation.responses["200"].content)[0].schema);
  if (rows.length) made.append(table("Answer", headings, rows));
  return made;
}

function properties(schema) {
  return Object.entries(resolved(schema).properties ?? {}).map(([name, each]) => [name, typeOf(each), each.description ?? ""]);
}

function resolved(schema) {
  return schema.$ref ? described.components.schemas[schema.$ref.split("/").pop()] : schema;
}

function typeOf(schema) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" | ");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.type === "array") return `${typeOf(schema.items ?? {})}[]`;
  return schema.type ?? "any";
}
