// Elements, made without a word of HTML: what a model or a user writes is only ever text.

export const $ = (id) => document.getElementById(id);

// A tag with properties (attributes where there is no such property; "onclick": a listener) and children.
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const drawn = document.createElementNS(space, "svg");
  const use = document.createElementNS(space, "use");
  drawn.setAttribute("class", "icon");
  drawn.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#i-${name}`);
  drawn.append(use);
  return drawn;
}

// A button that is only an icon: its label is read out, and shown to the mouse.
export function iconButton(label, name, act) {
  return make("button", { type: "button", className: "quiet round", "aria-label": label, title: label, onclick: act }, icon(name));
}

// Tell those who do not see the page.
export function say(text) {
  $("spoken").textContent = text;
}

// A sentence at the edge for some seconds, with something to do about it, perhaps.
export function toast(text, label, act) {
  const shown = make("div", { className: "toast", role: "status" }, make("span", {}, text));
  const leave = () => shown.remove();
  if (label) {
    const undo = make("button", { type: "button", className: "link", onclick: () => (leave(), act()) }, label);
    shown.append(undo);
  }
  $("toasts").replaceChildren(shown);
  setTimeout(leave, 8000);
}

// Outside HTTPS, browsers have no clipboard for scripts: there a selection is copied.
export async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = make("textarea", { value: text, className: "hidden" });
  document.body.append(field);
  const before = document.activeElement;
  field.select();
  document.execCommand("copy");
  field.remove();
  before?.focus();
}

// A button that copies what a function returns, and shows that it has.
export function copyButton(label, text) {
  const made = iconButton(label, "copy", async () => {
    await copy(text());
    made.replaceChildren(icon("check"));
    say("Copied.");
    setTimeout(() => made.replaceChildren(icon("copy")), 1500);
  });
  return made;
}
