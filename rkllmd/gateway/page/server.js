// What is asked of the gateway. All that goes wrong is a ServerError, whose message is a sentence for people.

import { settings } from "./settings.js";

const UNREACHABLE = "The gateway can't be reached: see that the board is on, and that this machine is in its network.";

export class ServerError extends Error {
  constructor(message, status = 0, retryAfter = 0) {
    super(message);
    this.status = status; // of HTTP; 0 where there was no answer
    this.retryAfter = retryAfter; // milliseconds; 0 where nothing is known
  }
}

// The models that are served, as OpenAI lists them.
export async function models() {
  const answer = await ask("/v1/models");
  return (await answer.json()).data;
}

// {ok, text}: how the daemon is, in a few words.
export async function health() {
  let found;
  try {
    const answer = await fetch("/health", { cache: "no-store" });
    found = { ok: answer.ok, ...(await answer.json()) };
  } catch {
    return { ok: false, text: "Not reached" };
  }
  if (!found.ok) return { ok: false, text: found.message?.includes("reached") ? "The daemon does not run" : "The daemon is being started again" };
  const { active, waiting } = found.slots;
  if (!active) return { ok: true, text: "Ready" };
  return { ok: true, text: waiting ? `Busy, ${waiting} waiting` : "Busy" };
}

// Yields the chunks of a streamed answer; onComment gets what the gateway says meanwhile (": queued, position 2 of 3").
export async function* chat(body, signal, onComment) {
  const answer = await ask("/v1/chat/completions", { method: "POST", body: JSON.stringify(body), signal });
  for await (const line of lines(answer.body)) {
    if (line.startsWith(":")) onComment(line.slice(1).trim());
    if (!line.startsWith("data:")) continue;
    const data = line.slice(5).trim();
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new ServerError(chunk.error.message, 200);
    yield chunk;
  }
  throw new ServerError("The connection ended before the answer did.");
}

async function* lines(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  while (true) {
    const { done, value } = await reader.read().catch((error) => {
      throw error.name === "AbortError" ? error : new ServerError("The connection broke off before the answer had ended.");
    });
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    yield* parts;
  }
}

async function ask(path, options = {}) {
  const headers = { "content-type": "application/json" };
  if (settings.key) headers.authorization = `Bearer ${settings.key}`;
  let answer;
  try {
    answer = await fetch(path, { cache: "no-store", ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError(UNREACHABLE);
  }
  if (!answer.ok) throw await refusal(answer);
  return answer;
}

async function refusal(answer) {
  let message = `The gateway answered ${answer.status} ${answer.statusText}`.trim() + ".";
  try {
    message = (await answer.json()).error.message;
  } catch {
    // Not from the gateway itself: a proxy before it, perhaps.
  }
  return new ServerError(message, answer.status, Number(answer.headers.get("retry-after-ms")));
}
