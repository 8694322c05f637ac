"use strict";
// Shortcuts: whatever says aria-keyshortcuts is pressed by that key, and "?" shows which there are. They can be
// switched off, because speech input types letters (WCAG 2.1.4).

const SWITCH = "voiceauth-shortcuts-off";
const everywhere = { "?": "Show these shortcuts", j: "Next row of a list", k: "Row before", "Ctrl+Enter": "Send a form" };

function isOff() {
  return localStorage.getItem(SWITCH) !== null;
}

function isTyping(element) {
  return element.matches("input:not([type=checkbox]):not([type=submit]), textarea, select");
}

function targets() {
  return [...document.querySelectorAll("[aria-keyshortcuts]")].filter((each) => each.checkVisibility());
}

function press(element) {
  if (element instanceof HTMLMediaElement) element.paused ? element.play() : element.pause();
  else if (element.matches("input, textarea, select")) element.focus();
  else element.click();
}

function move(step) {
  const links = [...document.querySelectorAll("#result_list tbody th a")];
  const at = links.indexOf(document.activeElement);
  links[Math.min(Math.max(at + step, 0), links.length - 1)]?.focus();
}

function row(key, label) {
  const [name, words] = [document.createElement("dt"), document.createElement("dd")];
  name.append(Object.assign(document.createElement("kbd"), { textContent: key }));
  words.textContent = label;
  return [name, words];
}

function show() {
  const dialog = document.createElement("dialog");
  dialog.className = "va-keys";
  dialog.setAttribute("aria-label", "Keyboard shortcuts");
  const list = document.createElement("dl");
  for (const each of targets()) {
    list.append(...row(each.getAttribute("aria-keyshortcuts"), each.getAttribute("aria-label") ?? each.textContent.trim()));
  }
  for (const [key, label] of Object.entries(everywhere)) list.append(...row(key, label));
  const off = Object.assign(document.createElement("input"), { type: "checkbox", checked: !isOff() });
  off.onchange = () => (off.checked ? localStorage.removeItem(SWITCH) : localStorage.setItem(SWITCH, "1"));
  const choice = Object.assign(document.createElement("label"), { className: "va-check" });
  choice.append(off, "Use shortcuts (“?” always works)");
  const close = Object.assign(document.createElement("button"), { type: "button", className: "button", textContent: "Close" });
  close.onclick = () => dialog.close();
  dialog.append(Object.assign(document.createElement("h2"), { textContent: "Keyboard shortcuts" }), list, choice, close);
  dialog.onclose = () => dialog.remove();
  document.body.append(dialog);
  dialog.showModal();
}

// The menus of a list's filters close like those of a desktop: by Escape, and by a click beside them.
function closeFilters(kept = null) {
  const open = [...document.querySelectorAll(".va-filter[open]")].filter((each) => !each.contains(kept));
  for (const each of open) {
    each.open = false;
    if (kept === null) each.querySelector("summary").focus();
  }
  return open.length > 0;
}

document.addEventListener("click", (event) => closeFilters(event.target));

document.addEventListener("keydown", (event) => {
  const typing = isTyping(event.target);
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && typing) return event.target.form?.requestSubmit();
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.key === "Escape" && closeFilters()) return;
  if (typing && event.key !== "Escape") return;
  if (event.key === "?") return show();
  if (isOff()) return;
  if (event.key === "j" || event.key === "k") return move(event.key === "j" ? 1 : -1);
  const found = targets().find((each) => each.getAttribute("aria-keyshortcuts") === event.key);
  if (found === undefined) return;
  event.preventDefault();
  press(found);
});

// What scrolls can be reached by keyboard, also once the window has become narrower.
const scrolling = new ResizeObserver((changes) => {
  for (const { target: each } of changes) {
    if (each.scrollWidth > each.clientWidth || each.scrollHeight > each.clientHeight) each.tabIndex = 0;
  }
});
for (const each of document.querySelectorAll(".va-scroll, .results, #result_list, .va-json")) scrolling.observe(each);

// A page that asks begins in its first field.
document.querySelector("form.va-confirm :is(select, textarea, input:not([type=hidden]))")?.focus();
