// Where the user writes: words, pictures, and the results of functions.

import { openCall } from "./answering.js";
import { $, icon, iconButton, make, toast } from "./dom.js";
import { among, scaled } from "./pictures.js";

const TALLEST = 0.4; // of the window

export class Composer {
  // actions: send({content, pictures}, edited message or null), sendResult(call, text), stop(), editLast().
  constructor(actions) {
    this.actions = actions;
    this.words = $("words");
    this.pictures = [];
    this.edited = null;
    this.call = null;
    this.running = false;
    this.sees = true;
    // On a phone's keyboard, Enter is for new lines.
    this.enterSends = !matchMedia("(pointer: coarse)").matches;
    $("hint").hidden = !this.enterSends;
    this.listen();
    this.draw();
  }

  listen() {
    const { words } = this;
    words.addEventListener("input", () => this.grow());
    words.addEventListener("keydown", (event) => this.key(event));
    words.addEventListener("paste", (event) => {
      // Office programs copy a picture of their text beside it.
      if (!event.clipboardData.types.includes("text/plain")) this.take(event, among(event.clipboardData));
    });
    $("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.running) this.actions.stop();
      else this.send();
    });
    $("pick").addEventListener("click", () => $("file").click());
    $("file").addEventListener("change", () => {
      this.add([...$("file").files]);
      $("file").value = "";
    });
    $("banner-cancel").addEventListener("click", () => this.leaveBanner());
    addEventListener("dragover", (event) => event.preventDefault());
    addEventListener("drop", (event) => this.take(event, among(event.dataTransfer), true));
  }

  key(event) {
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey && (this.enterSends || event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      if (!this.running) this.send();
    } else if (event.key === "ArrowUp" && !this.words.value && !this.edited && !this.running) {
      event.preventDefault();
      this.actions.editLast();
    } else if (event.key === "Escape" && this.edited) {
      event.stopPropagation();
      this.leaveBanner();
    }
  }

  take(event, files, always = false) {
    if (files.length || always) event.preventDefault();
    this.add(files);
  }

  // Whether the model takes pictures.
  setSight(sees) {
    this.sees = sees;
    $("pick").hidden = !sees;
  }

  async add(files) {
    if (files.length && !this.sees) return toast("This model sees no pictures: choose another one.");
    for (const file of files) {
      try {
        this.pictures.push(await scaled(file));
      } catch (error) {
        toast(error.message);
      }
    }
    this.draw();
    this.focus();
  }

  send() {
    const content = this.words.value.trim();
    if (!content && !this.pictures.length) return;
    const { pictures, edited, call } = this;
    this.clear();
    if (call) this.actions.sendResult(call, content);
    else this.actions.send({ content, ...(pictures.length ? { pictures } : {}) }, edited);
  }

  // Not on a phone, whose keyboard would hide half of the page.
  focus() {
    if (this.enterSends) this.words.focus();
  }

  clear() {
    Object.assign(this, { pictures: [], edited: null, call: null });
    this.words.value = "";
    this.draw();
  }

  edit(message) {
    this.edited = message;
    this.pictures = [...(message.pictures ?? [])];
    this.words.value = message.content;
    this.draw();
    this.focus();
  }

  // Whether an answer is coming, and whether a function's result is awaited, in the conversation that is shown.
  show(running, messages) {
    this.running = running;
    this.call = running || this.edited ? null : openCall(messages);
    this.draw();
  }

  leaveBanner() {
    if (this.edited) this.clear();
    this.call = null;
    this.draw();
    this.focus();
  }

  draw() {
    const { edited, call, running } = this;
    $("pictures").replaceChildren(...this.pictures.map((src, index) => this.thumbnail(src, index)));
    $("banner").hidden = !edited && !call;
    $("banner-text").textContent = edited ? "You are editing: what follows this question is replaced." : `The model waits for the result of ${call?.function.name}.`;
    $("banner-cancel").textContent = edited ? "Leave it as it is" : "Ask something else";
    const label = call ? `Result of ${call.function.name}` : "Write a message";
    this.words.placeholder = label;
    $("words-label").textContent = label;
    const button = $("send");
    const does = running ? "Stop" : "Send";
    if (button.title !== does) {
      button.title = does;
      button.setAttribute("aria-label", does);
      button.replaceChildren(icon(does.toLowerCase()));
    }
    this.grow();
  }

  thumbnail(src, index) {
    const leave = iconButton("Remove the picture", "close", () => {
      this.pictures.splice(index, 1);
      this.draw();
      this.focus();
    });
    return make("li", {}, make("img", { src, alt: `Picture ${index + 1}` }), leave);
  }

  grow() {
    const { words } = this;
    words.style.height = "auto";
    words.style.height = `${Math.min(words.scrollHeight, innerHeight * TALLEST)}px`;
  }
}
