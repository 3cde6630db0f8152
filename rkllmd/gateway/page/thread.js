// The messages of a conversation as they are seen.

import { runs } from "./answering.js";
import { copyButton, icon, iconButton, make } from "./dom.js";
import { updateMarkdown } from "./markdown.js";

const NEAR_THE_END = 80; // pixels: who is nearer to the end wants to see what comes
// What is said below an answer that did not simply end.
const ENDED = {
  length: "The answer has reached the limit of tokens.",
  stopped: "Stopped.",
  closed: "The page was closed before the answer had ended.",
};

export class Thread {
  // actions: edit(message), again(message), neededSettings(); each button calls one.
  constructor(element, scroller, latest, actions) {
    Object.assign(this, { element, scroller, latest, actions });
    this.views = new Map();
    this.changed = new Set();
    this.follows = true;
    scroller.addEventListener("scroll", () => this.look(), { passive: true });
    const sizes = new ResizeObserver(() => this.follow());
    for (const watched of [element, scroller]) sizes.observe(watched);
    latest.addEventListener("click", () => {
      this.follows = true;
      this.follow();
    });
    setInterval(() => this.tick(), 1000);
  }

  // Who does not want to follow what comes stays where they are: it is what they read, as another window has it.
  show(conversation, follows = true) {
    const top = this.scroller.scrollTop;
    this.conversation = conversation;
    this.views.clear();
    this.changed.clear();
    this.element.replaceChildren();
    this.sync();
    this.follows = follows;
    this.scroller.scrollTop = top;
    this.follow();
  }

  // Messages have come, or were taken away from the end.
  sync() {
    const { messages } = this.conversation;
    for (const [message, view] of this.views) {
      if (messages.includes(message)) continue;
      view.element.remove();
      this.views.delete(message);
    }
    for (const message of messages) {
      if (this.views.has(message)) continue;
      const view = message.role === "assistant" ? new AnswerView(message, this) : saidView(message, this);
      this.views.set(message, view);
      this.element.append(view.element);
    }
  }

  // A message has changed; it is drawn once for each picture that the screen shows.
  update(message) {
    if (!this.changed.size) requestAnimationFrame(() => this.draw());
    this.changed.add(message);
  }

  draw() {
    for (const message of this.changed) this.views.get(message)?.update?.();
    this.changed.clear();
  }

  tick() {
    for (const [message, view] of this.views) if (message.state === "running") view.updateStatus();
  }

  look() {
    const { scrollHeight, scrollTop, clientHeight } = this.scroller;
    this.follows = scrollHeight - scrollTop - clientHeight < NEAR_THE_END;
    this.latest.hidden = this.follows;
  }

  follow() {
    if (this.follows) this.scroller.scrollTop = this.scroller.scrollHeight;
    this.look();
  }
}

// What the user said, or the result of a function.
function saidView(message, { actions }) {
  const isResult = message.role === "tool";
  const words = make("div", { className: isResult ? "code" : "words" }, message.content);
  const pictures = (message.pictures ?? []).map((src) => make("img", { src, alt: "A picture that you sent" }));
  const buttons = [];
  if (message.content) buttons.push(copyButton("Copy", () => message.content));
  if (!isResult) buttons.push(iconButton("Edit", "edit", () => actions.edit(message)));
  const name = isResult ? make("p", { className: "caption" }, icon("call"), `Result of ${message.name}`) : null;
  const bubble = make("div", { className: "bubble" }, name, ...pictures, message.content ? words : null);
  const element = make("article", { className: isResult ? "result" : "said", "aria-label": isResult ? "Result" : "You" });
  element.append(make("div", { className: "tools" }, ...buttons), bubble);
  return { element };
}

// An answer, which may be coming.
class AnswerView {
  constructor(message, { actions, conversation }) {
    Object.assign(this, { message, actions, conversation });
    this.thoughts = make("div", { className: "thoughts" });
    this.summary = make("summary");
    this.thinking = make("details", { hidden: true }, this.summary, this.thoughts);
    this.words = make("div", { className: "markdown" });
    this.calls = make("div");
    this.status = make("p", { className: "status" });
    this.note = make("p", { className: "note" });
    this.figures = make("span", { className: "figures" });
    const buttons = [copyButton("Copy", () => message.content), iconButton("Answer again", "again", () => actions.again(message))];
    this.tools = make("div", { className: "tools" }, this.figures, ...buttons);
    this.element = make("article", { className: "answer", "aria-label": "Answer" });
    this.element.append(this.thinking, this.words, this.calls, this.status, this.note, this.tools);
    this.update();
  }

  update() {
    const { message } = this;
    const running = message.state === "running";
    this.element.setAttribute("aria-busy", running);
    this.updateThinking(running);
    updateMarkdown(this.words, message.content);
    const calls = message.tool_calls ?? [];
    if (calls.length !== this.calls.childElementCount) this.calls.replaceChildren(...calls.map(callCard));
    this.updateStatus();
    this.updateNote();
    this.figures.replaceChildren(...figures(message));
    this.tools.hidden = message.first === undefined; // nothing has come
    for (const button of this.tools.querySelectorAll("button")) button.hidden = running;
  }

  updateThinking(running) {
    const { reasoning, thought } = this.message;
    this.thinking.hidden = !reasoning;
    if (!reasoning) return;
    const isOver = thought !== undefined || !running;
    this.summary.textContent = isOver ? `Thought${thought ? ` for ${seconds(thought)}` : ""}` : "Thinking …";
    // A text of its own, which is only ever added to.
    const shown = this.thoughts.textContent.length;
    if (reasoning.length > shown) this.thoughts.append(reasoning.slice(shown));
    this.thoughts.normalize();
  }

  // What happens before the first words: the place in the queue, and for how long it takes already.
  updateStatus() {
    const { state, first } = this.message;
    const run = runs.get(this.conversation.id);
    const waits = state === "running" && first === undefined && run;
    this.status.hidden = !waits;
    if (!waits) return;
    const phase = run.phase && run.phase !== "waiting" && run.phase !== "generating" ? run.phase : "waiting for the model";
    const waited = Math.floor((performance.now() - run.began) / 1000);
    this.status.textContent = `${phase[0].toUpperCase()}${phase.slice(1)}${waited > 1 ? ` · ${waited} s` : ""}`;
  }

  updateNote() {
    const { state, error, refused, first } = this.message;
    const text = error ?? ENDED[state] ?? "";
    if (this.note.text === text) return;
    this.note.text = text;
    this.note.hidden = !text;
    this.note.classList.toggle("error", Boolean(error));
    this.note.replaceChildren(text);
    if (!error && !(text && first === undefined)) return;
    const [label, act] = refused === 401 ? ["Give the key", this.actions.neededSettings] : ["Try again", () => this.actions.again(this.message)];
    this.note.append(" ", make("button", { type: "button", className: "link", onclick: act }, label));
  }
}

function callCard(call) {
  let given = call.function.arguments;
  try {
    given = JSON.stringify(JSON.parse(given), null, 2);
  } catch {
    // Not JSON: shown as the model wrote it.
  }
  const caption = make("p", { className: "caption" }, icon("call"), "Calls ", make("code", {}, call.function.name));
  return make("div", { className: "call" }, caption, make("pre", { className: "code" }, given));
}

// What an answer took; a phone has room for the middle of it.
function figures({ model, first, speed, tokens }) {
  const aside = (text) => make("span", { className: "aside" }, text);
  const times = [];
  if (first !== undefined) times.push(`${seconds(first)} to the first word`);
  if (speed) times.push(`${speed.toFixed(speed < 10 ? 1 : 0)} tokens/s`);
  return [aside(model ? `${model} · ` : ""), times.join(" · "), aside(tokens ? ` · ${tokens === 1 ? "1 token" : `${tokens} tokens`}` : "")];
}

function seconds(milliseconds) {
  if (milliseconds < 100) return `${milliseconds} ms`;
  const value = milliseconds / 1000;
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} s`;
}
