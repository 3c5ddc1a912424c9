// Requests to the server, and the few things that every view draws.

let key = "";

export function setKey(text) { key = text; }

export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export async function api(method, path, body) {
  const headers = key === "" ? {} : { authorization: "Bearer " + key };
  if (body !== undefined) headers["content-type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    throw new ApiError(0, "The server does not answer. Is it running?");
  }
  const text = await response.text();
  if (response.ok) return JSON.parse(text);
  let message = text;
  try {
    const said = JSON.parse(text);
    message = said.error?.message ?? said.message ?? said.detail ?? text;
  } catch { /* not JSON: shown as it is */ }
  throw new ApiError(response.status, `${response.status}: ${message}`);
}

/** An element with a text, which is never read as HTML. */
export function element(tag, text = "", name = "") {
  const out = document.createElement(tag);
  if (text !== "") out.textContent = text;
  if (name !== "") out.className = name;
  return out;
}

export function clear(node) {
  node.replaceChildren();
  return node;
}

export function showError(target, error) {
  const box = element("div", error.message, "error");
  box.setAttribute("role", "alert");
  clear(target).append(box);
}
