"use strict";
const views = { decisions: Decisions, candidates: Candidates };

function turnTo(view) {
  for (const name of Object.keys(views)) {
    const open = name === view, tab = $(`${name}-tab`);
    $(name).hidden = !open;
    tab.ariaSelected = `${open}`;
    tab.tabIndex = open ? 0 : -1;
  }
  $("key").setAttribute("form", `${view}-form`);  // so that Enter in it asks
}

async function meet(model) {
  let health;
  try {
    health = await (await fetch(model === undefined ? "health" : `health?model=${encodeURIComponent(model)}`)).json();
  } catch {
    for (const view of Object.values(views)) view.refuse("The server cannot be reached.");
    return;
  }
  served = health;
  const base = { 0: "; a base alone, untrained", 1: "; the base itself stands for L+" };
  const without = served.heads.includes("positive") ? "" : base[served.heads.length];
  $("about").textContent = `Served: ${served.model}${without}.`;
  $("key-field").hidden = !served.key_required;
  $("model-field").hidden = served.models.length < 2;
  $("server").hidden = $("key-field").hidden && $("model-field").hidden;
  $("model").replaceChildren(...served.models.map(name => new Option(name, name, false, name === served.model)));
  for (const view of Object.values(views)) view.about();
}

for (const tab of $("tabs").children) {
  tab.addEventListener("click", () => turnTo(tab.id.replace("-tab", "")));
  tab.addEventListener("keydown", event => {
    const other = { ArrowRight: tab.nextElementSibling, ArrowLeft: tab.previousElementSibling,
      Home: $("tabs").firstElementChild, End: $("tabs").lastElementChild }[event.key];
    if (!other) return;
    event.preventDefault();
    other.focus();
    other.click();
  });
}
$("model").addEventListener("change", () => meet($("model").value));
turnTo("decisions");
meet();
