// How a hit looks: title, section, snippet, why it is here, and the other chunks of its document.

import { ask, collectionPath } from "./api.js";
import { element, table } from "./dom.js";

const percent = new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 0 });
const decimals = new Intl.NumberFormat(undefined, { maximumFractionDigits: 3 });

export function hitItem(hit, collection) {
  const title = hit.title ?? hit.doc_id;
  const section = hit.section.slice(hit.section[0] === title ? 1 : 0).join(" › "); // the first heading is often the title
  return element(
    "li",
    {},
    element(
      "article",
      { class: "hit" },
      element("h2", {}, titleOf(hit, title)),
      section ? element("p", { class: "place" }, section) : null,
      element("p", { class: "snippet" }, ...highlighted(hit.snippet ?? hit.text, hit.highlights)),
      element("p", { class: "origin" }, `${hit.place} · ${hit.source}`),
      element("div", { class: "more" }, why(hit, title), otherChunks(hit, collection, title)),
    ),
  );
}

function titleOf(hit, title) {
  if (!/^https?:\/\//i.test(hit.url ?? "")) return title;
  const address = hit.anchor && !hit.url.includes("#") ? `${hit.url}#${encodeURIComponent(hit.anchor)}` : hit.url;
  return element("a", { href: address, rel: "noreferrer" }, title);
}

// The ranges count characters as Python does, not the UTF-16 units of a JavaScript string.
function highlighted(snippet, ranges) {
  const characters = Array.from(snippet);
  const text = (start, end) => characters.slice(start, end).join("");
  const parts = [];
  let last = 0;
  for (const [start, end] of ranges) {
    parts.push(text(last, start), element("mark", {}, text(start, end)));
    last = end;
  }
  return [...parts, text(last)];
}

function why(hit, title) {
  const total = Object.values(hit.contributions).reduce((sum, share) => sum + share, 0) || 1;
  const rows = Object.entries(hit.ranks).map(([vector, rank]) => [
    vector,
    String(rank),
    decimals.format(hit.vector_scores[vector] ?? 0),
    percent.format((hit.contributions[vector] ?? 0) / total),
  ]);
  const scores = [`Fused score: ${decimals.format(hit.fused_score)}`];
  if (hit.rerank_score !== null) scores.push(`rerank score, which decides: ${decimals.format(hit.rerank_score)}`);
  return element(
    "details",
    {},
    element("summary", { "aria-label": `Why this hit: ${title}` }, "Why this hit"),
    table("Vectors that found it, and their shares of the score", ["vector", "rank", "score", "share"], rows),
    element("p", {}, scores.join(" · ")),
  );
}

function otherChunks(hit, collection, title) {
  const list = element("div", { "aria-live": "polite" });
  const details = element(
    "details",
    {},
    element("summary", { "aria-label": `The whole document: ${title}` }, "The whole document"),
    list,
  );
  details.addEventListener("toggle", async () => {
    if (!details.open || list.childElementCount) return;
    list.replaceChildren(element("p", {}, "Loading…"));
    try {
      const id = hit.doc_id.split("/").map(encodeURIComponent).join("/");
      const stored = await ask(`${collectionPath(collection)}/documents/${id}?source=${encodeURIComponent(hit.source)}`);
      const chunks = element("ol", { class: "chunks", tabindex: "0" }, ...stored.chunks.map((chunk) => chunkItem(chunk, hit)));
      list.replaceChildren(chunks);
      const current = chunks.querySelector("[aria-current]");
      if (current) chunks.scrollTop = current.offsetTop - chunks.offsetTop; // not the page, which the reader scrolls
    } catch (problem) {
      list.replaceChildren(element("p", { class: "problem" }, problem.message));
    }
  });
  return details;
}

function chunkItem(chunk, hit) {
  const found = chunk.id === hit.id;
  return element(
    "li",
    { "aria-current": found ? "true" : undefined, value: chunk.chunk + 1 },
    found ? element("strong", {}, "This hit. ") : null,
    chunk.text,
  );
}
