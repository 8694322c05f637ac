"use strict";
// Keeps a page up to date that shows something under way, without loading it anew: focus and scroll stay. It can be
// paused (WCAG 2.2.2), and rests while nobody sees the page.

const updates = document.createElement("p");
const updated = document.createElement("span");
const pause = Object.assign(document.createElement("button"), { type: "button", textContent: "Pause updates" });
updates.className = "va-updates";
updates.append(updated, pause);
let timer;

function seconds(page) {
  return Number(page.querySelector("meta[name=va-refresh]")?.content ?? 0);
}

function wait(time) {
  updates.hidden = time <= 0;
  clearTimeout(timer);
  if (time > 0 && pause.dataset.paused === undefined) timer = setTimeout(refresh, time * 1000);
}

function told(time) {
  updated.textContent = `Updated at ${time.toISOString().slice(11, 19)} UTC`;
}

async function refresh() {
  if (document.hidden) return wait(seconds(document));
  let page;
  try {
    const response = await fetch(location.href);
    page = new DOMParser().parseFromString(await response.text(), "text/html");
  } catch {
    return wait(seconds(document)); // the service restarts, for example
  }
  const content = page.getElementById("content");
  if (content === null || page.querySelector("#login-form") !== null) return location.reload();
  if (pause.dataset.paused !== undefined) return;
  const focused = document.activeElement?.getAttribute("href");
  document.getElementById("content").replaceWith(content);
  if (focused) content.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  told(new Date());
  wait(seconds(page));
}

pause.onclick = () => {
  const paused = pause.dataset.paused === undefined;
  pause.textContent = paused ? "Resume updates" : "Pause updates";
  if (paused) {
    pause.dataset.paused = "";
    return clearTimeout(timer);
  }
  delete pause.dataset.paused;
  refresh();
};

document.getElementById("content").before(updates);
told(new Date());
wait(seconds(document));
