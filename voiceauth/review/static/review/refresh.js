"use strict";
// Keeps a page up to date that shows something under way, without loading it anew: focus and scroll stay.

function seconds(page) {
  return Number(page.querySelector("meta[name=va-refresh]")?.content ?? 0);
}

function wait(time) {
  if (time > 0) setTimeout(refresh, time * 1000);
}

async function refresh() {
  let page;
  try {
    const response = await fetch(location.href);
    page = new DOMParser().parseFromString(await response.text(), "text/html");
  } catch {
    return wait(seconds(document)); // the service restarts, for example
  }
  const content = page.getElementById("content");
  if (content === null || page.querySelector("#login-form") !== null) return location.reload();
  const focused = document.activeElement?.getAttribute("href");
  document.getElementById("content").replaceWith(content);
  if (focused) content.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
  wait(seconds(page));
}

wait(seconds(document));
