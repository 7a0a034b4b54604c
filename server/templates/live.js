// Asks for the page again and puts what changed in its place; open tables stay open.
"use strict";
const EVERY = 2000;
let tag = null;

async function look() {
  const said = await fetch("/", { headers: tag ? { "If-None-Match": tag } : {}, cache: "no-store" });
  if (said.status === 200) {
    tag = said.headers.get("ETag");
    const fresh = new DOMParser().parseFromString(await said.text(), "text/html");
    const open = [...document.querySelectorAll("details")].map((one) => one.open);
    const summaries = [...document.querySelectorAll("section h2")].map((one) => one.textContent);
    for (const part of ["header", "main"]) {
      document.querySelector(part).replaceWith(document.adoptNode(fresh.querySelector(part)));
    }
    const titles = [...document.querySelectorAll("section h2")].map((one) => one.textContent);
    if (titles.length === summaries.length) {
      document.querySelectorAll("details").forEach((one, place) => { one.open = open[place] ?? one.open; });
    }
    document.title = fresh.title;
    if (!fresh.querySelector("script")) return; // the run is over
  }
  setTimeout(again, EVERY);
}

function again() {
  look().then(
    () => document.body.removeAttribute("data-lost"),
    () => { document.body.dataset.lost = ""; setTimeout(again, EVERY); },
  );
}

setTimeout(again, EVERY);
