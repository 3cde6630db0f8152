// The dialog of settings, and the switch between light and dark.

import { $, icon } from "./dom.js";
import { applyTheme, keep, settings, tools } from "./settings.js";

// The field of each setting.
const FIELDS = { key: "s-key", system: "s-system", thinking: "s-thinking", temperature: "s-temperature", limit: "s-limit", tools: "s-tools" };
const THEMES = { auto: "Theme: system", light: "Theme: light", dark: "Theme: dark" };

// closed(): the settings may have changed.
export function prepareSettings(closed) {
  for (const [name, id] of Object.entries(FIELDS)) {
    $(id).addEventListener("input", () => {
      keep({ [name]: name === "key" ? $(id).value.trim() : $(id).value });
      if (name === "tools") showToolsError();
    });
  }
  $("settings").addEventListener("close", closed);
  $("settings").addEventListener("click", (event) => event.target === $("settings") && $("settings").close());
  $("open-settings").addEventListener("click", () => openSettings());
  $("theme").addEventListener("click", () => {
    const names = Object.keys(THEMES);
    keep({ theme: names[(names.indexOf(settings.theme) + 1) % names.length] });
    showTheme();
  });
  showTheme();
}

// note: why they are opened; the cursor is then where the key goes.
export function openSettings(note = "") {
  for (const [name, id] of Object.entries(FIELDS)) $(id).value = settings[name];
  $("settings-note").textContent = note;
  $("settings-note").hidden = !note;
  showToolsError();
  if (!$("settings").open) $("settings").showModal();
  if (note) $("s-key").focus();
}

function showToolsError() {
  let message = "";
  try {
    tools();
  } catch (error) {
    message = error.message;
  }
  $("s-tools-error").textContent = message;
}

function showTheme() {
  applyTheme();
  $("theme").replaceChildren(icon(settings.theme), THEMES[settings.theme]);
}
