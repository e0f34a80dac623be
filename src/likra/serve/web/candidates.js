"use strict";
// A question and candidate answers: bars of L+, w * L- and the ratio, which follow the weight without another reading.
const Candidates = (() => {
  let weight = 1;     // the heads' own until the slider is moved: it may lie between the slider's steps
  let answer = null;  // what the server said last; everything below is arithmetic on it

  // --- the candidates' fields

  function number() {
    const rows = [...$("rows").children];
    rows.forEach((row, place) => {
      const [label, input, button] = row.children;
      label.replaceChildren(make("span", "aloud", "Candidate "), `${place + 1}`);
      input.id = label.htmlFor = `candidate-${place + 1}`;
      button.setAttribute("aria-label", `Remove candidate ${place + 1}`);
      button.disabled = rows.length === 1;
    });
    return rows;
  }

  function add() {
    const row = make("div", "row");
    const input = Object.assign(make("input"), { type: "text" });
    const button = Object.assign(make("button", "", "×"), { type: "button" });
    button.addEventListener("click", () => {
      const place = [...$("rows").children].indexOf(row);
      row.remove();
      const rows = number();
      rows[Math.min(place, rows.length - 1)].children[1].focus();
    });
    row.append(make("label"), input, button);
    $("rows").append(row);
    number();
    return input;
  }

  async function ask() {
    const choices = [...$("rows").children].map(row => row.children[1].value).filter(text => text.trim());
    refuse("");
    if (!choices.length) return refuse("Give at least one candidate.", $("rows").firstChild.children[1]);
    const body = JSON.stringify({ model: chosen(), question: $("question").value, choices });
    const said = await post($("send"), "v1/score", body, refuse);
    if (!said) return;
    answer = said;
    show();
  }

  function refuse(line, field) {
    $("candidates-alert").textContent = line;
    field?.focus();
  }

  // --- arithmetic on what it said

  function ranking() {
    const found = answer.choices.map((choice, place) => ({
      ...choice, place,
      weighted: choice.negative === null ? null : weight * choice.negative,
      score: choice.positive - (choice.negative === null ? 0 : weight * choice.negative),
      sure: weight === answer.weight ? choice.probability : null,
    }));
    return found.sort((one, other) => other.score - one.score || one.place - other.place);
  }

  function bar(kind, name, value, shown) {
    const line = make("div", `bar ${kind}`), drawn = track(shown);
    if (kind === "ratio") drawn.firstChild.style[value < 0 ? "right" : "left"] = "50%";
    line.append(make("span", "", name), drawn, make("span", "", signed(value, 2)));
    return line;
  }

  function show() {
    $("weight-shown").textContent = weight.toFixed(2);
    $("weight").setAttribute("aria-valuetext", weight.toFixed(2));
    $("confidence-shown").textContent = `${$("confidence").value}%`;
    $("confidence").setAttribute("aria-valuetext", `${$("confidence").value} percent`);
    $("results").hidden = !answer;
    if (!answer) return;
    const ranked = ranking();
    const two = ranked[0].negative !== null;
    // One scale for all log-likelihoods, whatever the slider says, so that only what it changes moves.
    const reach = Math.max(1, Math.abs($("weight").min), Math.abs($("weight").max));
    const deepest = Math.max(1e-9, ...ranked.map(c => Math.max(-c.positive, two ? -c.negative * reach : 0)));
    const widest = Math.max(1e-9, ...ranked.map(c => Math.abs(c.score)));
    const best = ranked.filter(c => c.score === ranked[0].score);
    const enough = Number($("confidence").value) / 100;
    const abstains = enough > 0 && ranked[0].sure !== null && ranked[0].sure < enough;

    $("list").replaceChildren(...ranked.map((c, rank) => {
      const line = make("li", best.includes(c) ? "best" : "");
      const name = make("div", "name");
      name.append(make("b", "", `${rank + 1}. ${c.text}`));
      if (best.includes(c) && !abstains) name.append(make("span", "tag", best.length > 1 ? "tied" : "best"));
      const beside = make("span", "soft", `base ${signed(c.base, 2)}`);
      if (c.sure !== null) beside.prepend(make("strong", "", `${(100 * c.sure).toFixed(1)}% sure`), ", ");
      name.append(beside);
      const both = make("div");
      both.append(bar("L-positive", "L+", c.positive, -c.positive / deepest));
      if (two) both.append(bar("L-negative", "w · L−", c.weighted, Math.abs(c.weighted) / deepest));
      line.append(name, both, bar("ratio", two ? "ratio" : "score", c.score, Math.abs(c.score) / widest / 2));
      return line;
    }));

    const names = best.map(c => `“${c.text}”`);
    const says = abstains ? `No answer: the best, ${names[0]}, is not sure enough.`
      : names.length > 1 ? `A tie: ${names.join(", ")}.` : `Best: ${names[0]}.`;
    if ($("summary").textContent !== says) $("summary").textContent = says;  // said aloud only when it changes
    const scale = "Log-likelihoods in nats; 0, certain, is at the right, and a longer bar is less likely.";
    const unsure = served.calibrated && two && ranked[0].sure === null && ranked.length > 1
      ? ` The heads are calibrated for w = ${answer.weight}: at another weight they do not say how sure they are.` : "";
    $("legend").textContent = (two ? `${scale} The ratio is L+ − w · L−.` : scale) + unsure;
  }

  function about() {
    answer = null;
    weight = served.weight;
    $("weight-dial").hidden = !served.heads.includes("negative");
    $("confidence-dial").hidden = !served.calibrated;
    $("dials").hidden = $("weight-dial").hidden && $("confidence-dial").hidden;
    const far = Math.max(1.5, 1.5 * Math.abs(weight));
    Object.assign($("weight"), { min: weight < 0 ? -far : 0, max: far, step: 0.05, value: weight });
    show();
  }

  $("weight").addEventListener("input", () => {
    // Where the slider stands on the heads' own weight, up to its step, that weight is meant.
    const moved = Number($("weight").value);
    weight = Math.abs(moved - served.weight) < 0.025 ? served.weight : moved;
    show();
  });
  $("confidence").addEventListener("input", show);
  $("add").addEventListener("click", () => add().focus());
  $("candidates-form").addEventListener("submit", event => { event.preventDefault(); ask(); });
  for (let row = 0; row < 3; row++) add();
  about();
  return { about, refuse };
})();
