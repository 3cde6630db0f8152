// The chat page of rkllmd's gateway: what belongs together is put together here.
//
// The gateway serves all of these files as one (document.py); served as they are, by any server of files, they work too.

import { answer, runs, stop } from "./answering.js";
import { Composer } from "./composer.js";
import { openSettings, prepareSettings } from "./dialog.js";
import { $, make, say, toast } from "./dom.js";
import { health, models } from "./server.js";
import { keep, settings } from "./settings.js";
import { Sidebar } from "./sidebar.js";
import { conversationHeads, newConversation, onOtherWindow, openStore } from "./store.js";
import { readConversation, removeConversation, writeConversation } from "./store.js";
import { Thread } from "./thread.js";

const SAVE_EVERY = 2000; // milliseconds, while an answer comes
const WELL_EVERY = 15000;
const ILL_EVERY = 3000;
const IDEAS = ["What is an NPU?", "Tell me a joke.", "Write a haiku about rain."];

let current = newConversation();
let saved = 0;
let listed = ""; // the models that can be chosen, as JSON
let refusedKey = null;
// The ids of conversations: what still comes for one of them does not bring it back.
const gone = new Set();
let sights = new Map(); // by the model's name: whether it takes pictures

const thread = new Thread($("thread"), $("scroller"), $("latest"), { edit, again, neededSettings });
const composer = new Composer({ send, sendResult, stop: () => stop(current), editLast });
const sidebar = new Sidebar({ open, rename, remove, create });

// -- conversations -----------------------------------------------------------------------------------------------------

async function open(id) {
  current = await found(id);
  show();
}

// The conversation with this id: as the run in it has it, else as it is kept.
async function found(id) {
  const running = runs.get(id)?.conversation;
  if (running) return running;
  const kept = (id === current.id && current.messages.length && current) || (await readConversation(id));
  if (!kept) return newConversation();
  for (const message of kept.messages) if (message.state === "running") message.state = "closed";
  return kept;
}

function create() {
  current = newConversation();
  show();
}

function show() {
  keep({ last: current.id });
  thread.show(current);
  composer.clear();
  refresh();
  composer.focus();
}

// What depends on the messages, but for their own words.
function refresh() {
  const isEmpty = !current.messages.length;
  $("welcome").hidden = !isEmpty;
  $("thread").hidden = isEmpty;
  document.title = current.title ? `${current.title} · rkllmd` : "rkllmd";
  composer.show(runs.has(current.id), current.messages);
  refreshList();
}

async function refreshList() {
  sidebar.show(await conversationHeads(), current.id, new Set(runs.keys()));
}

async function save(conversation) {
  if (gone.has(conversation.id)) return;
  saved = Date.now();
  try {
    await writeConversation(conversation);
  } catch {
    toast("The browser has no room left for conversations: delete some of them.");
  }
}

async function rename(id, title) {
  const conversation = await found(id);
  conversation.title = title;
  await save(conversation);
  refresh();
}

async function remove(id) {
  const conversation = await found(id);
  gone.add(id);
  stop(conversation);
  await removeConversation(id);
  if (id === current.id) create();
  else refreshList();
  toast(`“${conversation.title}” is deleted.`, "Undo", async () => {
    gone.delete(id);
    await save(conversation);
    open(id);
  });
}

// -- messages ----------------------------------------------------------------------------------------------------------

function send(said, edited) {
  if (edited) cut(edited);
  if (!current.title) current.title = titleOf(said);
  current.messages.push({ role: "user", ...said });
  go();
}

function titleOf({ content }) {
  const line = content.split("\n")[0].trim() || "A picture";
  return line.length > 60 ? `${line.slice(0, 59)}…` : line;
}

function sendResult(call, text) {
  current.messages.push({ role: "tool", name: call.function.name, tool_call_id: call.id, content: text });
  thread.sync();
  composer.show(false, current.messages);
  if (composer.call) save(current);
  else go();
}

function edit(message) {
  if (!runs.has(current.id)) composer.edit(message);
}

function editLast() {
  const last = current.messages.findLast((message) => message.role === "user");
  if (last) edit(last);
}

function again(message) {
  if (runs.has(current.id)) return;
  cut(message);
  go();
}

// Take a message away, and all that follow it.
function cut(message) {
  const at = current.messages.indexOf(message);
  if (at >= 0) current.messages.splice(at);
  thread.sync();
}

async function go() {
  const conversation = current;
  conversation.updated = Date.now();
  thread.follows = true;
  say("Asked.");
  const coming = answer(conversation, (_, message) => changed(conversation, message));
  await save(conversation);
  refresh();
  const message = await coming;
  say(message.error ?? (message.tool_calls ? "The model calls a function." : `The answer: ${message.content.slice(0, 2000)}`));
  await save(conversation);
  refresh();
  if (message.refused === 401) neededSettings();
  else if (message.error) watch();
}

function changed(conversation, message) {
  if (Date.now() - saved > SAVE_EVERY) save(conversation);
  if (conversation !== current) return;
  thread.sync();
  thread.update(message);
}

// -- the gateway -------------------------------------------------------------------------------------------------------

// Show which models there are; returns what is wrong with them, in a few words.
async function listModels() {
  let found;
  try {
    found = await models();
  } catch (error) {
    if (error.status !== 401) return error.message;
    // Asked for once: who has closed the dialog does not want it again.
    if (refusedKey !== settings.key) neededSettings();
    refusedKey = settings.key;
    return "The API key is missing or wrong";
  }
  const shown = JSON.stringify(found.map(({ id, status, architecture }) => [id, status, architecture]));
  const wrong = found.length ? "" : "No model is loaded";
  if (shown === listed) return wrong;
  listed = shown;
  sights = new Map(found.map(({ id, architecture }) => [id, architecture?.input_modalities.includes("image") ?? true]));
  $("model").replaceChildren(...found.map(modelOption));
  $("model").hidden = !found.length;
  if (found.length) chooseModel(sights.has(settings.model) ? settings.model : found[0].id);
  return wrong;
}

function chooseModel(name) {
  keep({ model: name });
  $("model").value = name;
  composer.setSight(sights.get(name) ?? true);
}

function modelOption({ id, status }) {
  const state = { sleeping: "asleep", unloaded: "not loaded", loading: "loading" }[status?.value];
  return make("option", { value: id }, state ? `${id} (${state})` : id);
}

function neededSettings() {
  openSettings(settings.key ? "The gateway does not know this API key." : "The gateway wants an API key.");
}

let watching = 0;

// Show how the daemon is and which models it has, now and from time to time while somebody looks.
async function watch() {
  clearTimeout(watching);
  if (document.hidden) return;
  const found = await health();
  const wrong = found.ok && (await listModels());
  if (wrong) Object.assign(found, { ok: false, text: wrong });
  $("health").className = found.ok ? "well" : "ill";
  if ($("health-text").textContent !== found.text) $("health-text").textContent = found.text;
  clearTimeout(watching);
  watching = setTimeout(watch, found.ok ? WELL_EVERY : ILL_EVERY);
}

// -- the beginning -----------------------------------------------------------------------------------------------------

$("ideas").append(...IDEAS.map((idea) => make("li", {}, make("button", { type: "button", onclick: () => send({ content: idea }) }, idea))));
$("model").addEventListener("change", () => chooseModel($("model").value));
prepareSettings(watch);
document.addEventListener("visibilitychange", watch);
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !$("settings").open) stop(current);
});
addEventListener("pagehide", () => runs.forEach(({ conversation }) => writeConversation(conversation)));

const isKept = await openStore();
if (!isKept) toast("This browser keeps nothing: conversations are gone when the page is closed.");
onOtherWindow(async (id) => {
  if (id === current.id && !runs.has(id)) {
    current = (await readConversation(id)) ?? newConversation();
    thread.show(current, thread.follows);
    refresh();
  } else refreshList();
});
await open(settings.last);
watch();
