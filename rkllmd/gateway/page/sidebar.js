// The list of conversations; on a phone it is a drawer.

import { $, iconButton, make } from "./dom.js";

const narrow = matchMedia("(max-width: 50rem)");

export class Sidebar {
  // actions: open(id), rename(id, title), remove(id), create().
  constructor(actions) {
    this.actions = actions;
    $("new").addEventListener("click", () => {
      this.close();
      actions.create();
    });
    $("open-sidebar").addEventListener("click", () => this.toggle());
    for (const id of ["close-sidebar", "shade"]) $(id).addEventListener("click", () => this.close());
    $("sidebar").addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !this.isOpen) return;
      event.stopPropagation();
      this.close();
    });
    narrow.addEventListener("change", () => this.settle(false));
    this.settle(false);
  }

  toggle() {
    this.settle(!this.isOpen);
    if (this.isOpen) $("close-sidebar").focus();
  }

  close() {
    if (!this.isOpen) return;
    this.settle(false);
    $("open-sidebar").focus();
  }

  settle(isOpen) {
    this.isOpen = isOpen;
    document.body.classList.toggle("drawer", isOpen);
    $("sidebar").inert = narrow.matches && !isOpen;
    $("shade").hidden = !isOpen;
    $("open-sidebar").setAttribute("aria-expanded", isOpen);
  }

  // heads: {id, title}; busy: the ids of those in which an answer is coming.
  show(heads, current, busy) {
    $("conversations").replaceChildren(...heads.map((head) => this.item(head, head.id === current, busy.has(head.id))));
  }

  item({ id, title }, isCurrent, isBusy) {
    const open = make("button", { type: "button", className: "title" }, title || "New conversation");
    open.addEventListener("click", () => {
      this.close();
      this.actions.open(id);
    });
    if (isCurrent) open.setAttribute("aria-current", "true");
    const rename = iconButton("Rename", "edit", () => this.rename(item, open, id, title));
    const remove = iconButton("Delete", "delete", () => this.actions.remove(id));
    const item = make("li", { className: isBusy ? "busy" : "" }, open, rename, remove);
    return item;
  }

  rename(item, open, id, title) {
    const field = make("input", { value: title, "aria-label": "Title of the conversation", maxLength: 80 });
    let isOver = false;
    const leave = (keeps) => {
      if (isOver) return;
      isOver = true;
      if (keeps && field.value.trim()) this.actions.rename(id, field.value.trim());
      field.replaceWith(open);
    };
    field.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Enter") leave(true);
      if (event.key === "Escape") leave(false);
    });
    field.addEventListener("blur", () => leave(true));
    open.replaceWith(field);
    field.select();
  }
}
