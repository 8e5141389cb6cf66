/** Requests to the server that this page came from, and to no other. */

import { keyHeaders } from "./key.js";
import { events } from "./stream.js";
import { word } from "./words.js";

/** What a server said when it could not; `status` is 0 where it could not be reached. */
export class ServerError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** The JSON at an address. */
export async function get(address) {
  return (await ask(address, {})).json();
}

/** The JSON that answers a JSON. */
export async function post(address, body, signal) {
  return (await ask(address, { method: "POST", body: JSON.stringify(body), signal })).json();
}

/** The parts of an answer as they are written (server-sent events); `signal` stops it. */
export async function* postStream(address, body, signal) {
  const response = await ask(address, { method: "POST", body: JSON.stringify({ ...body, stream: true }), signal });
  for await (const part of events(response.body)) {
    if (part.error) throw new ServerError(part.error.message ?? word("failed", { status: 500 }), 500);
    yield part;
  }
}

async function ask(address, options) {
  const headers = { ...keyHeaders(), ...(options.body ? { "Content-Type": "application/json" } : {}) };
  let response;
  try {
    // Relative to the page, so that a proxy may serve both below a prefix.
    response = await fetch(new URL(address, document.baseURI), { ...options, headers, credentials: "same-origin", cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError(word("unreachable"), 0);
  }
  if (!response.ok) throw new ServerError(await complaint(response), response.status);
  return response;
}

/** The server's own words, in OpenAI's shape, or the number where it has none. */
async function complaint(response) {
  try {
    const { error } = await response.json();
    if (error?.message) return error.message;
  } catch {
    // Not JSON: something between here and the server answered.
  }
  return word("failed", { status: response.status });
}
