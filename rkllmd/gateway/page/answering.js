// Answers as they come: one run for each conversation at most, which goes on while another one is shown.
//
// A message has role and content, and may have: pictures (data URLs), reasoning, tool_calls, tool_call_id; an answer
// also has state, error (a sentence) and the figures model, first (ms to the first token), thought (ms), speed
// (tokens/s), tokens. States: running, stop, length, tool_calls, and these of ours: stopped, failed, closed.

import { ServerError, chat } from "./server.js";
import { settings, tools } from "./settings.js";

const MOST_ATTEMPTS = 5;

// By the conversation's id: {conversation, message, controller, phase, began}. phase: what the gateway does for us, in words.
export const runs = new Map();

// Let the model go on with a conversation. changed(conversation, message) is called as things come.
export async function answer(conversation, changed) {
  const message = { role: "assistant", content: "", reasoning: "", model: settings.model, state: "running" };
  const run = { conversation, message, controller: new AbortController(), phase: "", began: performance.now() };
  const { messages } = conversation;
  runs.set(conversation.id, run);
  try {
    const body = request(messages);
    messages.push(message);
    changed(conversation, message);
    await patiently(run, body, () => changed(conversation, message));
    if (message.state === "running") throw new ServerError("The answer ended without a reason.");
  } catch (error) {
    if (!messages.includes(message)) messages.push(message);
    message.state = run.controller.signal.aborted ? "stopped" : "failed";
    if (message.state === "failed") message.error = error.message;
    message.refused = error.status;
  }
  runs.delete(conversation.id);
  changed(conversation, message);
  return message;
}

// Closes the connection, which ends the run on the NPU at once.
export function stop(conversation) {
  runs.get(conversation.id)?.controller.abort();
}

// Ask; where the queue is full, again when the gateway says so.
async function patiently(run, body, changed) {
  const { signal } = run.controller;
  for (let attempt = 1; ; attempt++) {
    try {
      const chunks = chat(body, signal, (comment) => {
        run.phase = comment;
        changed();
      });
      for await (const chunk of chunks) {
        take(run, chunk);
        changed();
      }
      return;
    } catch (error) {
      if (error.status !== 429 || !error.retryAfter || attempt === MOST_ATTEMPTS) throw error;
      run.phase = `the queue is full, asking again in ${Math.ceil(error.retryAfter / 1000)} s`;
      changed();
      await pause(error.retryAfter, signal);
    }
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });
}

function take(run, chunk) {
  const { message } = run;
  message.model = chunk.model || message.model;
  if (chunk.usage) message.tokens = chunk.usage.completion_tokens || message.tokens;
  const choice = chunk.choices[0];
  if (!choice) return;
  const { content, reasoning_content: reasoning, tool_calls: calls } = choice.delta;
  const now = performance.now();
  if (content || reasoning || calls) {
    message.first ??= Math.round(now - run.began);
    run.since ??= now;
    run.pieces = (run.pieces ?? 0) + 1;
    if (now - run.since > 500) message.speed = ((run.pieces - 1) * 1000) / (now - run.since);
  }
  if (reasoning) message.reasoning += reasoning;
  if ((content || calls) && message.reasoning) message.thought ??= Math.round(now - run.since);
  if (content) message.content += content;
  if (calls) message.tool_calls = [...(message.tool_calls ?? []), ...calls.map(({ index, ...call }) => call)];
  if (choice.finish_reason) message.state = choice.finish_reason;
  const { timings } = chunk;
  if (timings?.predicted_n) Object.assign(message, { tokens: timings.predicted_n, speed: timings.predicted_per_second || message.speed });
}

// The body of a request that asks for the next message.
function request(messages) {
  const spoken = messages.filter((message) => message.role !== "assistant" || message.content || message.tool_calls);
  const system = settings.system.trim() ? [{ role: "system", content: settings.system.trim() }] : [];
  const body = { messages: [...system, ...spoken.map(wire)], stream: true, stream_options: { include_usage: true } };
  const functions = tools();
  if (functions.length) body.tools = functions;
  if (settings.model) body.model = settings.model;
  if (settings.temperature !== "") body.temperature = Number(settings.temperature);
  if (settings.limit !== "") body.max_completion_tokens = Number(settings.limit);
  if (settings.thinking) body.chat_template_kwargs = { enable_thinking: settings.thinking === "on" };
  return body;
}

function wire({ role, content, pictures, reasoning, tool_calls, tool_call_id }) {
  const sent = { role, content };
  if (pictures?.length) {
    const shown = pictures.map((url) => ({ type: "image_url", image_url: { url } }));
    sent.content = content ? [...shown, { type: "text", text: content }] : shown;
  }
  if (reasoning) sent.reasoning_content = reasoning;
  if (tool_calls) sent.tool_calls = tool_calls;
  if (tool_call_id) sent.tool_call_id = tool_call_id;
  return sent;
}

// The first call of the latest answer that has no result yet.
export function openCall(messages) {
  const last = messages.findLastIndex((message) => message.role !== "tool");
  const answered = new Set(messages.slice(last + 1).map((message) => message.tool_call_id));
  return messages[last]?.tool_calls?.find((call) => !answered.has(call.id)) ?? null;
}
