// The search page: a query, filters, results and jobs. Its state is in the address, so that a search can be linked to.

import { ask, collectionPath, setToken } from "./api.js";
import { element, table } from "./dom.js";
import { hitItem } from "./results.js";

const PAGE = 10;
const MOST_VALUES = 12;
const INDEXES = new Set(["keyword", "bool", "integer"]);

const found = Object.fromEntries(
  ["form", "collection", "query", "rerank", "status", "hits", "next", "filters", "groups", "jobs", "access", "token"].map((id) => [
    id,
    document.getElementById(id),
  ]),
);

const state = { fields: {}, chosen: {}, count: 0, request: null };

found.form.addEventListener("submit", (event) => {
  event.preventDefault();
  state.chosen = {};
  search();
});
found.collection.addEventListener("change", async () => {
  state.chosen = {};
  await guarded(loadFields);
  if (found.query.value.trim()) search();
});
found.rerank.addEventListener("change", () => found.query.value.trim() && search());
found.next.addEventListener("click", () => search(state.count));
found.access.addEventListener("submit", (event) => {
  event.preventDefault();
  setToken(found.token.value.trim());
  start();
});
document.addEventListener("keydown", (event) => {
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName);
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  found.query.focus();
});

found.filters.open = matchMedia("(min-width: 40rem)").matches; // on a phone, results come first
start();

async function start() {
  await guarded(async () => {
    const { collections } = await ask("/v1/collections");
    found.access.hidden = true;
    const names = collections.map((each) => each.name);
    const asked = new URLSearchParams(location.search);
    found.collection.replaceChildren(...names.map((name) => element("option", { value: name }, name)));
    if (names.includes(asked.get("collection"))) found.collection.value = asked.get("collection");
    found.query.value = asked.get("q") ?? "";
    tell(names.length ? "" : "No collection is served: run ingest run first.");
    if (names.length) await loadFields();
    await showJobs();
    if (names.length && found.query.value.trim()) await search();
  });
}

async function loadFields() {
  const { indexes } = await ask(collectionPath(found.collection.value));
  const fields = Object.entries(indexes).filter(([name, index]) => name.startsWith("metadata.") && INDEXES.has(index.type));
  state.fields = Object.fromEntries(fields.map(([name, index]) => [name, index.type]));
  found.filters.hidden = true;
}

async function search(offset = 0) {
  state.request?.abort();
  const request = (state.request = new AbortController());
  const query = found.query.value.trim();
  if (!query) return tell("Type something to search for.");
  history.replaceState(null, "", `?${new URLSearchParams({ collection: found.collection.value, q: query })}`);
  document.title = `${query} · ingest`;
  tell("Searching…");
  await guarded(async () => {
    const name = found.collection.value;
    const body = { query, limit: PAGE, offset, snippets: true, facets: Object.keys(state.fields), where: conditions() };
    if (found.rerank.checked) body.rerank = "auto";
    const answer = await ask(`${collectionPath(name)}/search`, body, request.signal);
    show(answer, name, offset);
  });
}

function show(answer, name, offset) {
  const items = answer.hits.map((hit) => hitItem(hit, name));
  if (offset) found.hits.append(...items);
  else found.hits.replaceChildren(...items);
  state.count = offset + items.length;
  found.hits.start = 1;
  found.next.hidden = items.length < PAGE;
  showFilters(answer.facets);
  const milliseconds = Math.round(answer.seconds * 1000);
  const counted = `${state.count} ${state.count === 1 ? "hit" : "hits"} in ${milliseconds} ms${answer.reranked ? ", reranked" : ""}.`;
  tell([items.length || offset ? counted : "Nothing found.", answer.note, ...answer.warnings].filter(Boolean).join(" "));
  if (offset && items.length) items[0].querySelector("summary").focus();
}

// A value is sent in the type of its index: facets return all values as text.
function conditions() {
  const typed = { integer: Number, bool: (value) => value.toLowerCase() === "true", keyword: String };
  const chosen = Object.entries(state.chosen).filter(([, values]) => values.size);
  return Object.fromEntries(chosen.map(([field, values]) => [field, [...values].map(typed[state.fields[field]])]));
}

function showFilters(facets) {
  const fields = Object.entries(facets).filter(([field, values]) => Object.keys(values).length || state.chosen[field]?.size);
  found.filters.hidden = !fields.length;
  found.groups.replaceChildren(...fields.sort().map(([field, values]) => filterGroup(field, values)));
}

function filterGroup(field, values) {
  const chosen = (state.chosen[field] ??= new Set());
  const frequent = Object.entries(values).sort(([, one], [, other]) => other - one); // an object has numbers first
  const listed = frequent.slice(0, MOST_VALUES);
  const missing = [...chosen].filter((value) => !(value in values)).map((value) => [value, 0]);
  return element(
    "fieldset",
    {},
    element("legend", {}, field.replace(/^metadata\./, "")),
    ...[...missing, ...listed].map(([value, count]) => {
      const box = element("input", { type: "checkbox", checked: chosen.has(value), value });
      box.addEventListener("change", async () => {
        if (box.checked) chosen.add(value);
        else chosen.delete(value);
        await search();
        found.groups.querySelector(`[data-key="${CSS.escape(`${field}=${value}`)}"]`)?.focus();
      });
      box.dataset.key = `${field}=${value}`;
      return element("label", {}, box, " ", value, " ", element("span", { class: "count" }, String(count)));
    }),
  );
}

async function showJobs() {
  const { jobs } = await ask("/v1/jobs");
  found.jobs.hidden = !jobs.length;
  const rows = jobs.map(({ collection, status, problems }) => [
    status.job,
    collection,
    [status.status, ...(problems.length ? problems : status.error ? [status.error] : [])].join(": "),
    receipt(status.receipt),
    time(status.last_success),
    time(status.next_run),
  ]);
  const headings = ["job", "collection", "status", "last receipt", "last success", "next run"];
  found.jobs.querySelector("div").replaceChildren(table("Scheduled jobs", headings, rows));
}

function receipt(counts) {
  if (!counts) return "";
  const names = ["read", "written", "updated", "unchanged", "deleted", "soft_deleted", "rejected"];
  const shown = names.filter((name) => counts[name]).map((name) => `${counts[name]} ${name.replace("_", "-")}`);
  return shown.join(", ") + (counts.balanced === false ? " — does NOT balance" : "");
}

function time(text) {
  return text ? new Date(text).toLocaleString() : "";
}

async function guarded(work) {
  try {
    await work();
  } catch (problem) {
    if (problem.name === "AbortError") return;
    found.access.hidden = problem.status !== 401;
    tell(problem.message);
    if (problem.status === 401) found.token.focus();
  }
}

function tell(sentence) {
  found.status.textContent = sentence;
}
