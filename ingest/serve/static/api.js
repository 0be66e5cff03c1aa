// Requests to the API of this server, with the token that the reader gave, if one was required.

const TOKEN = "ingest-token"; // kept until the tab is closed

export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export function setToken(token) {
  sessionStorage.setItem(TOKEN, token);
}

export async function ask(path, body, signal) {
  const headers = {};
  const token = sessionStorage.getItem(TOKEN);
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body) headers["Content-Type"] = "application/json";
  const response = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal }).catch(
    (error) => {
      if (error.name === "AbortError") throw error;
      throw new Problem(0, "The server does not answer: is it running?");
    },
  );
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Problem(response.status, answer.detail ?? `the server answered ${response.status}`);
  return answer;
}

export const collectionPath = (name) => `/v1/collections/${encodeURIComponent(name)}`;
