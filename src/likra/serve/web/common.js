"use strict";
const $ = id => document.getElementById(id);
const make = (tag, name, text) => Object.assign(document.createElement(tag), { className: name ?? "", textContent: text ?? "" });
const signed = (value, digits) => (value < 0 ? "−" : value > 0 ? "+" : "") + Math.abs(value).toFixed(digits);

// What /health says of the chosen model.
let served = { models: [], weight: 1, heads: ["positive", "negative"], calibrated: false, risk_coverage: null };

// The model that a request names: none where there is no choice.
const chosen = () => served.models.length > 1 ? $("model").value : undefined;

// A bar that fills `share` of its track; its number stands beside it as text.
function track(share) {
  const found = make("span", "track"), fill = make("i");
  found.setAttribute("aria-hidden", "true");
  fill.style.width = `${100 * share}%`;
  found.append(fill);
  return found;
}

// Post `body` by a button; `refuse(line, field)` says what goes wrong, and null comes back. One request at a time.
async function post(button, path, body, refuse) {
  if (button.ariaDisabled === "true") return null;
  button.ariaDisabled = "true";  // a button that is `disabled` would lose the focus
  try {
    const headers = { "Content-Type": "application/json" };
    if ($("key").value) headers.Authorization = `Bearer ${$("key").value}`;
    const reply = await fetch(path, { method: "POST", headers, body });
    const said = await reply.json().catch(() => ({}));
    if (reply.ok) return said;
    if (reply.status === 401) {
      $("server").hidden = $("key-field").hidden = false;
      refuse("This server wants its key.", $("key"));
    } else refuse(said.detail ?? `The server answered with status ${reply.status}.`);
  } catch {
    refuse("The server cannot be reached.");
  } finally {
    button.ariaDisabled = "false";
  }
  return null;
}
