// Keeps what is looked at live: asks for the same page now and then, and puts in the parts that differ.
// Focus, open details and scroll positions stay; only a change of the verdict is read out.
"use strict";
(() => {
  const main = document.querySelector("main[data-live-seconds]");
  const state = document.getElementById("live-state");
  const notice = document.getElementById("notice");
  if (notice) notice.focus();
  if (!main || !state) return;

  const everyMs = 1000 * Number(main.dataset.liveSeconds);
  const known = new Map();
  let tag = null;
  let heardAt = new Date();
  let failures = 0;
  let timer = 0;
  for (const part of main.querySelectorAll("[data-live]")) known.set(part.id, part.outerHTML);

  const clock = (date) => date.toISOString().slice(11, 19) + " UTC";
  const say = (text) => { document.getElementById("announcement").textContent = text; };

  // The element in a new copy of a part that stands for one in the old: by id, by address, or by its place.
  const twinOf = (element, part) => {
    if (element.id && part.querySelector("#" + CSS.escape(element.id))) return part.querySelector("#" + CSS.escape(element.id));
    const same = (other) => other.tagName === element.tagName && other.getAttribute("href") === element.getAttribute("href")
      && other.getAttribute("aria-label") === element.getAttribute("aria-label");
    return Array.from(part.querySelectorAll("a, button, summary, [tabindex]")).find(same);
  };

  const replace = (old, fresh) => {
    const focused = old.contains(document.activeElement) ? document.activeElement : null;
    for (const details of old.querySelectorAll("details[open]")) {
      const twin = details.id && fresh.querySelector("#" + CSS.escape(details.id));
      if (twin) twin.open = true;
    }
    const scrolled = Array.from(old.querySelectorAll(".scroll"), (box) => box.scrollLeft);
    old.replaceWith(fresh);
    fresh.querySelectorAll(".scroll").forEach((box, i) => { box.scrollLeft = scrolled[i] || 0; });
    const twin = focused && twinOf(focused, fresh);
    if (twin) twin.focus({ preventScroll: true });
  };

  const take = (text) => {
    const page = new DOMParser().parseFromString(text, "text/html");
    document.title = page.title;
    const navigation = document.querySelector(".bar nav");
    const newNavigation = page.querySelector(".bar nav");
    if (navigation && newNavigation && navigation.innerHTML !== newNavigation.innerHTML
        && !navigation.contains(document.activeElement)) navigation.replaceWith(newNavigation);
    let before = null;
    const parts = Array.from(page.querySelectorAll("main [data-live]"));
    const there = new Set(parts.map((part) => part.id));
    for (const fresh of parts) {
      const html = fresh.outerHTML;
      const old = document.getElementById(fresh.id);
      if (old && known.get(fresh.id) !== html) {
        const was = old.dataset.announce;
        replace(old, fresh);
        if (was !== undefined && was !== fresh.dataset.announce) say("The verdict has changed. " + fresh.textContent.trim());
      } else if (!old && before) {
        before.after(fresh);
      }
      known.set(fresh.id, html);
      before = document.getElementById(fresh.id);
    }
    for (const id of Array.from(known.keys())) {
      if (there.has(id)) continue;
      const old = document.getElementById(id);
      if (old && !old.contains(document.activeElement)) { old.remove(); known.delete(id); }
    }
  };

  const heard = () => {
    if (failures) say("Connected again.");
    failures = 0;
    heardAt = new Date();
    document.body.classList.remove("lost");
    state.textContent = "Live; last looked " + clock(heardAt) + ".";
  };

  const lost = () => {
    failures += 1;
    document.body.classList.add("lost");
    state.textContent = "The console does not answer since " + clock(heardAt) + ": what you see may be old.";
    if (failures === 1) say(state.textContent);
  };

  const look = async () => {
    try {
      const headers = { "tidegate-live": "1" };
      if (tag) headers["if-none-match"] = tag;
      const answer = await fetch(location.href, { headers, cache: "no-store", credentials: "same-origin", signal: AbortSignal.timeout(20000) });
      if (answer.redirected) { location.reload(); return; }
      if (answer.status === 200) { tag = answer.headers.get("etag"); take(await answer.text()); }
      if (answer.status === 200 || answer.status === 304) heard(); else lost();
    } catch (_) {
      lost();
    }
    plan();
  };

  const plan = () => {
    clearTimeout(timer);
    if (!document.hidden) timer = setTimeout(look, everyMs * Math.min(2 ** failures, 6));
  };
  document.addEventListener("visibilitychange", () => { if (document.hidden) clearTimeout(timer); else look(); });
  heard();
  plan();
})();
