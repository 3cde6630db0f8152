// Markdown as elements: what models write of it, no HTML, no picture from elsewhere, and links to the web and mail only.

import { copyButton, make } from "./dom.js";

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([^`\s]*)/;
const HEADING = /^ {0,3}(#{1,6})\s+([^]*?)( #+ *)?$/; // behind what it begins with, whatever comes fits at once
const RULE = /^ {0,3}([-*_])(\s*\1){2,}\s*$/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])(\s+|$)/;
const QUOTE = /^ {0,3}> ?/;
const DASHES = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;
const NAMED = { amp: "&", lt: "<", gt: ">" };
const DEEPEST = 8; // lists and quotations in each other; below that all is plain

// Show a text in an element that showed its beginning before: blocks that are as they were stay.
export function updateMarkdown(element, text) {
  const blocks = split(text);
  const before = element.blocks ?? [];
  let same = 0;
  while (same < blocks.length && same < before.length && blocks[same] === before[same]) same++;
  while (element.childNodes.length > same) element.lastChild.remove();
  element.append(...blocks.slice(same).map((block) => rendered(block, 0)));
  element.blocks = blocks;
}

// The blocks of a text, each with its lines.
function split(text) {
  const lines = text.replaceAll("\r\n", "\n").replaceAll("\t", "    ").split("\n");
  const blocks = [];
  for (let at = 0; at < lines.length; ) {
    const end = lines[at].trim() ? blockEnd(lines, at) : at + 1;
    const block = lines.slice(at, end).join("\n");
    if (block.trim()) blocks.push(block);
    at = end;
  }
  return blocks;
}

// The index behind the last line of the block that begins at an index.
function blockEnd(lines, at) {
  const line = lines[at];
  const fence = FENCE.exec(line)?.[1];
  let end = at + 1;
  if (fence) {
    while (end < lines.length && !(lines[end].trim().startsWith(fence) && !lines[end].trim().replaceAll(fence[0], ""))) end++;
    return Math.min(end + 1, lines.length);
  }
  if (HEADING.test(line) || RULE.test(line)) return end;
  if (QUOTE.test(line)) {
    while (end < lines.length && QUOTE.test(lines[end])) end++;
    return end;
  }
  if (ITEM.test(line)) return listEnd(lines, at);
  if (isTable(lines, at)) {
    while (end < lines.length && lines[end].includes("|")) end++;
    return end;
  }
  while (end < lines.length && lines[end].trim() && !begins(lines, end)) end++;
  return end;
}

function begins(lines, at) {
  const line = lines[at];
  return FENCE.test(line) || HEADING.test(line) || QUOTE.test(line) || ITEM.test(line) || RULE.test(line) || isTable(lines, at);
}

function isTable(lines, at) {
  return lines[at].includes("|") && lines[at + 1]?.includes("|") && DASHES.test(lines[at + 1]);
}

function listEnd(lines, at) {
  const [, indent, mark] = ITEM.exec(lines[at]);
  const ordered = mark.length > 1;
  let end = at + 1;
  for (; end < lines.length; end++) {
    const line = lines[end];
    if (!line.trim()) {
      const next = lines[end + 1];
      if (!next?.trim()) return end;
      if (!/^\s{2,}/.test(next) && !ITEM.test(next)) return end;
      continue;
    }
    const item = ITEM.exec(line);
    if (item && item[1].length <= indent.length && (item[2].length > 1) !== ordered) return end;
    if (!item && !/^\s/.test(line) && (!lines[end - 1].trim() || begins(lines, end))) return end;
    if (RULE.test(line)) return end;
  }
  return end;
}

function rendered(block, depth) {
  const lines = block.split("\n");
  const fence = FENCE.exec(lines[0]);
  if (fence) return code(lines, fence);
  const heading = HEADING.exec(lines[0]);
  // The page has h1 and h2 itself.
  if (heading) return make(`h${Math.min(6, heading[1].length + 2)}`, {}, ...inline(heading[2]));
  if (RULE.test(lines[0])) return make("hr");
  if (depth < DEEPEST) {
    if (QUOTE.test(lines[0])) return make("blockquote", {}, ...inner(lines.map((line) => line.replace(QUOTE, "")), depth));
    if (ITEM.test(lines[0])) return list(lines, depth);
  }
  if (isTable(lines, 0)) return table(lines);
  return make("p", {}, ...inline(block));
}

function inner(lines, depth) {
  return split(lines.join("\n")).map((block) => rendered(block, depth + 1));
}

function code(lines, [, fence, language]) {
  const closed = lines.length > 1 && lines.at(-1).trim().startsWith(fence);
  const text = lines.slice(1, closed ? -1 : undefined).join("\n");
  const head = make("div", { className: "code-head" }, make("span", {}, language || "text"), copyButton("Copy the code", () => text));
  const body = make("pre", { tabIndex: 0 }, make("code", {}, text));
  return make("div", { className: "code-block" }, head, body);
}

function list(lines, depth) {
  const [, base, mark] = ITEM.exec(lines[0]);
  const items = [];
  let width = 0;
  for (const line of lines) {
    const found = ITEM.exec(line);
    if (found && found[1].length <= base.length + 1) {
      width = found[0].length;
      items.push([line.slice(width)]);
    } else {
      const indent = line.length - line.trimStart().length;
      items.at(-1).push(line.slice(Math.min(indent, width)));
    }
  }
  const children = items.map((item) => {
    const [first, ...rest] = inner(item, depth);
    // A paragraph, perhaps with a list below it, is no paragraph of its own.
    const isTight = first?.tagName === "P" && rest.every((part) => /^[OU]L$/.test(part.tagName));
    return make("li", {}, ...(isTight ? first.childNodes : [first]), ...rest);
  });
  if (mark.length === 1) return make("ul", {}, ...children);
  return make("ol", { start: parseInt(mark, 10) }, ...children);
}

function table(lines) {
  const cells = (line) =>
    line
      .trim()
      .replace(/^\||\|$/g, "")
      .split(/(?<!\\)\|/)
      .map((cell) => cell.trim().replaceAll("\\|", "|"));
  const sides = cells(lines[1]).map((dashes) => (dashes.endsWith(":") ? (dashes.startsWith(":") ? "center" : "right") : ""));
  const row = (line, tag) => make("tr", {}, ...cells(line).map((cell, index) => make(tag, { className: sides[index] ?? "" }, ...inline(cell))));
  const body = make("tbody", {}, ...lines.slice(2).map((line) => row(line, "td")));
  return make("div", { className: "wide-table", tabIndex: 0 }, make("table", {}, make("thead", {}, row(lines[0], "th")), body));
}

// Each piece that is more than text: an escaped character, code, strong, emphasis, a link, an address, a new line, a
// character by its name. The lengths are bounded, so that marks without an end cost little.
const PIECES = new RegExp(
  [
    /\\([*_`#~|\\])/,
    /(`+)(?!`)([^]{1,2000}?)(?<!`)\2(?!`)/,
    /(\*\*|(?<!\w)__|~~)(?=\S)([^]{1,1000}?)(?<=\S)\4(?!\*|\w(?<=_\w))/,
    /(?<!\w)([*_])(?![\s*_])([^]{0,1000}?[^\s*_])\6(?![\w*](?<=_\w|\*\*))/,
    /!?\[((?:[^\[\]]|\[[^\[\]]{0,200}\]){0,500})\]\(\s*<?((?:[^\s<>()]|\([^\s<>()]{0,200}\)){1,2000})>?(?:\s+"[^"]{0,500}")?\s*\)/,
    /(https?:\/\/(?:[^\s<>"'`()]|\([^\s<>"'`()]{0,200}\)){1,2000}(?<![.,;:!?\]*_]))/,
    /(\n)/,
    /&(amp|lt|gt);/,
  ]
    .map((piece) => piece.source)
    .join("|"),
  "g",
);

function inline(text, depth = 0) {
  const nodes = [];
  let at = 0;
  for (const found of text.matchAll(PIECES)) {
    const [whole, escaped, , code, mark, strong, , light, label, target, address, , name] = found;
    if (found.index > at) nodes.push(text.slice(at, found.index));
    at = found.index + whole.length;
    const within = (piece) => (depth < DEEPEST ? inline(piece, depth + 1) : [piece]);
    if (escaped) nodes.push(escaped);
    else if (code) nodes.push(make("code", {}, code.replace(/^ (.*[^ ].*) $/s, "$1")));
    else if (strong) nodes.push(make(mark === "~~" ? "del" : "strong", {}, ...within(strong)));
    else if (light) nodes.push(make("em", {}, ...within(light)));
    else if (target) nodes.push(link(target, within(label || target)) ?? whole);
    else if (address) nodes.push(link(address, [address]) ?? whole);
    else if (name) nodes.push(NAMED[name]);
    else nodes.push(make("br"));
  }
  if (at < text.length) nodes.push(text.slice(at));
  return nodes;
}

function link(target, children) {
  if (!/^(https?:\/\/|mailto:)/i.test(target)) return null;
  return make("a", { href: target, target: "_blank", rel: "noopener noreferrer" }, ...children);
}
