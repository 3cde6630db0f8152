// The conversations, kept in this browser: their heads (what the list shows) apart from their messages.
//
// A conversation is {id, title, updated, messages}; what a message has stands in answering.js.

const DATABASE = "rkllmd-chat";
const others = "BroadcastChannel" in window ? new BroadcastChannel(DATABASE) : null;
let database = null;

// Where the browser has no place (some private windows), all is kept for as long as the page is open.
const memory = { heads: new Map(), messages: new Map() };

export async function openStore() {
  try {
    const asked = indexedDB.open(DATABASE, 1);
    asked.onupgradeneeded = () => {
      asked.result.createObjectStore("heads", { keyPath: "id" });
      asked.result.createObjectStore("messages", { keyPath: "id" });
    };
    database = await resultOf(asked);
    database.onversionchange = () => database.close();
  } catch {
    database = null;
  }
  return database !== null;
}

// Another window of the same browser has changed the conversation with this id.
export function onOtherWindow(act) {
  if (others) others.onmessage = (event) => act(event.data);
}

export function newConversation() {
  const id = `${Date.now().toString(36)}-${Array.from(crypto.getRandomValues(new Uint32Array(2)), (n) => n.toString(36)).join("")}`;
  return { id, title: "", updated: Date.now(), messages: [] };
}

// {id, title, updated} of each conversation, the latest first.
export async function conversationHeads() {
  const found = database ? await resultOf(database.transaction("heads").objectStore("heads").getAll()) : [...memory.heads.values()];
  return found.sort((a, b) => b.updated - a.updated);
}

export async function readConversation(id) {
  if (!database) return together(memory.heads.get(id), memory.messages.get(id));
  const under = database.transaction(["heads", "messages"]);
  const parts = ["heads", "messages"].map((name) => resultOf(under.objectStore(name).get(id)));
  return together(...(await Promise.all(parts)));
}

function together(head, body) {
  return head && body ? { ...head, messages: body.messages } : null;
}

// Rejects where the browser has no room left.
export async function writeConversation({ id, title, updated, messages }) {
  await change((heads, bodies) => {
    heads.put({ id, title, updated });
    bodies.put({ id, messages });
  }, id);
}

export async function removeConversation(id) {
  await change((heads, bodies) => {
    heads.delete(id);
    bodies.delete(id);
  }, id);
}

async function change(act, id) {
  if (database) {
    const under = database.transaction(["heads", "messages"], "readwrite");
    act(under.objectStore("heads"), under.objectStore("messages"));
    await new Promise((resolve, reject) => {
      under.oncomplete = resolve;
      under.onerror = under.onabort = () => reject(under.error);
    });
  } else {
    act(...[memory.heads, memory.messages].map((place) => ({ put: (item) => place.set(item.id, item), delete: (key) => place.delete(key) })));
  }
  others?.postMessage(id);
}

function resultOf(asked) {
  return new Promise((resolve, reject) => {
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => reject(asked.error);
  });
}
