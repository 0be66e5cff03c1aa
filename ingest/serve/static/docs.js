// Shows /openapi.json: one section for each operation.

const main = document.getElementById("operations");

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function typeOf(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" | ");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.type === "array") return `${typeOf(schema.items)}[]`;
  return schema.type ?? "any";
}

function fieldTable(caption, rows) {
  const table = element("table");
  table.append(element("caption", caption));
  const head = table.createTHead().insertRow();
  for (const name of ["name", "type", "what it is"]) {
    const cell = element("th", name);
    cell.scope = "col";
    head.append(cell);
  }
  const body = table.createTBody();
  for (const [name, type, description] of rows) {
    const row = body.insertRow();
    row.append(element("td", name, "code"), element("td", type, "code"), element("td", description));
  }
  return table;
}

function properties(schema, document_) {
  const named = schema?.$ref ? document_.components.schemas[schema.$ref.split("/").pop()] : schema;
  return Object.entries(named?.properties ?? {}).map(([name, each]) => [name, typeOf(each), each.description ?? ""]);
}

function section(method, path, operation, document_) {
  const made = element("section", undefined, "operation");
  const heading = element("h2");
  heading.append(element("span", method.toUpperCase(), "method"), " ", element("code", path));
  made.append(heading, element("p", operation.summary));
  const parameters = operation.parameters.map((each) => [each.name, typeOf(each.schema), each.description ?? ""]);
  if (parameters.length) made.append(fieldTable("Parameters", parameters));
  const body = operation.requestBody?.content["application/json"].schema;
  if (body) made.append(fieldTable("JSON body", properties(body, document_)));
  const answer = Object.values(operation.responses["200"]?.content ?? {})[0]?.schema;
  const rows = properties(answer, document_);
  if (rows.length) made.append(fieldTable("Answer", rows));
  return made;
}

const response = await fetch("/openapi.json");
const described = await response.json();
main.replaceChildren(
  ...Object.entries(described.paths).flatMap(([path, operations]) =>
    Object.entries(operations).map(([method, operation]) => section(method, path, operation, described)),
  ),
);
