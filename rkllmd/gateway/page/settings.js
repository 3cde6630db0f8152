// What the user has set, kept in this browser.

const PLACE = "rkllmd.settings";
const DEFAULTS = { key: "", model: "", theme: "auto", system: "", thinking: "", temperature: "", limit: "", tools: "", last: "" };

export const settings = { ...DEFAULTS, ...stored() };

function stored() {
  try {
    return JSON.parse(localStorage.getItem(PLACE)) ?? {};
  } catch {
    return {}; // the browser keeps nothing, or something else stands there
  }
}

export function keep(changed) {
  Object.assign(settings, changed);
  try {
    localStorage.setItem(PLACE, JSON.stringify(settings));
  } catch {
    // The browser keeps nothing: then it is so for as long as the page is open.
  }
}

export function applyTheme() {
  const root = document.documentElement;
  if (settings.theme === "auto") delete root.dataset.theme;
  else root.dataset.theme = settings.theme;
}

// The functions that the model may call. Throws an Error with a sentence where the text is no list of tools.
export function tools(text = settings.tools) {
  if (!text.trim()) return [];
  let found;
  try {
    found = JSON.parse(text);
  } catch (error) {
    throw new Error(`The functions are no JSON: ${error.message}.`);
  }
  const list = Array.isArray(found) ? found : [found];
  if (!list.every((item) => item?.type === "function" && item.function?.name)) {
    throw new Error('Each function is {"type": "function", "function": {"name": …, "parameters": …}}.');
  }
  return list;
}
