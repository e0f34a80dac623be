"use strict";
// A state and typed questions about it, as POST /v1/systemone takes them: a bar for the probability of each option, what
// is automatic from a threshold on, and the proof that the order of the options changes nothing.
const Decisions = (() => {
  const SAMPLE = {
    state: "I was charged twice for March. Please send one payment back before Friday.",
    questions: [
      { name: "billing", type: "noul", instructions: "Is this ticket about billing?", criteria: "" },
      { name: "team", type: "choice", instructions: "Which team should answer?",
        criteria: "billing: charges, refunds, invoices\nweb: pages that do not load\nother" },
      { name: "urgency", type: "score", instructions: "How urgent is this?", criteria: "can wait\nthis week\ntoday" },
    ],
  };
  const CRITERIA = {
    noul: "What counts as yes (optional)",
    choice: "Options (name: description)",
    score: "Levels, the lowest first",
  };
  let asked = null;    // the request that the answers are of
  let answers = null;  // what the server said to it, by question
  let threshold = 0.5;

  // --- the questions' fields

  const cards = () => [...$("questions").children];
  const field = (card, name) => card.querySelector(`.asked-${name}`);

  function number() {
    cards().forEach((card, place) => {
      card.querySelector("legend").textContent = `Question ${place + 1}`;
      for (const label of card.querySelectorAll("label")) {
        const input = label.nextElementSibling;
        input.id = label.htmlFor = `${input.className}-${place + 1}`;
      }
      const error = card.querySelector(".error"), remove = card.querySelector(".remove");
      error.id = `question-error-${place + 1}`;
      card.setAttribute("aria-describedby", error.id);
      remove.setAttribute("aria-label", `Remove question ${place + 1}`);
      remove.disabled = cards().length === 1;
    });
  }

  function add({ name, type, instructions, criteria }) {
    $("questions").append($("question-fields").content.cloneNode(true));
    const card = cards().at(-1), kind = field(card, "type");
    for (const [key, value] of Object.entries({ name, type, instructions, criteria })) field(card, key).value = value;
    const label = () => {
      field(card, "criteria").previousElementSibling.textContent = CRITERIA[kind.value];
      field(card, "criteria").placeholder = kind.value === "noul" ? "" : "one a line";
    };
    kind.addEventListener("change", label);
    label();
    card.querySelector(".remove").addEventListener("click", () => {
      const place = cards().indexOf(card);
      card.remove();
      number();
      changed();
      field(cards()[Math.min(place, cards().length - 1)], "name").focus();
    });
    number();
    return card;
  }

  function unused() {
    const names = cards().map(card => field(card, "name").value);
    let place = names.length + 1;
    while (names.includes(`question ${place}`)) place++;
    return `question ${place}`;
  }

  function isJson(text) {
    try {
      return typeof JSON.parse(text) === "object" && text.trim() !== "null";
    } catch {
      return false;
    }
  }

  function read(card) {
    const [name, type, instructions, text] = ["name", "type", "instructions", "criteria"].map(key => field(card, key).value);
    const lines = text.split("\n").map(line => line.trim()).filter(Boolean);
    // A colon ends a name only before a space or the line's end, so that names may be times or addresses.
    const options = lines.map(line => /^(.+?):(?:\s+(.*))?$/.exec(line)?.slice(1, 3) ?? [line]);
    return { name, type, instructions, text: text.trim(), lines, options };
  }

  // --- asking

  // By hand: an object of JavaScript's would move names like "2" to its front, and keep one of two equal names.
  const object = pairs => `{${pairs.map(([key, value]) => `${JSON.stringify(key)}: ${value}`).join(", ")}}`;

  function written({ type, instructions, text, lines, options }) {
    const criteria = {
      noul: text && JSON.stringify(text),
      choice: object(options.map(([name, description]) => [name, JSON.stringify(description || null)])),
      score: JSON.stringify(lines),
    }[type];
    const pairs = [["type", JSON.stringify(type)], ["instructions", JSON.stringify(instructions)], ["criteria", criteria]];
    return object(pairs.filter(([key, value]) => value && (key !== "instructions" || instructions.trim())));
  }

  function body({ model, state, questions }) {
    const pairs = [["state", isJson(state) ? state : JSON.stringify(state)],
      ["questions", object(questions.map(one => [one.name, written(one)]))]];
    return object(model === undefined ? pairs : [["model", JSON.stringify(model)], ...pairs]);
  }

  async function ask() {
    refuse("");
    const request = { model: chosen(), state: $("state").value, questions: cards().map(read) };
    const said = await post($("decide"), "v1/systemone", body(request), refuse);
    if (!said) return;
    [asked, answers] = [request, said.answers];
    $("changed").hidden = true;
    $("shuffled").textContent = "";
    show();
  }

  // Beside what it names: a question, the state, or neither.
  function refuse(line, focused) {
    for (const one of $("decisions-form").querySelectorAll(".error")) one.textContent = "";
    for (const one of document.querySelectorAll("[aria-invalid]")) one.removeAttribute("aria-invalid");
    const named = cards().map(card => [card, `questions.${[...field(card, "name").value].slice(0, 40).join("")}`])
      .filter(([, path]) => line.includes(path) && /^['".:; ]/.test(line.slice(line.indexOf(path) + path.length)))
      .sort(([, one], [, other]) => other.length - one.length)[0];
    if (line.startsWith("field 'state'")) {  // which may name the question that it is too long with
      focused = $("state");
      $("state-error").textContent = line;
    } else if (named) {
      const [card, path] = named, part = /^\.(instructions|criteria|type)/.exec(line.slice(line.indexOf(path) + path.length));
      focused = field(card, part ? part[1] : "criteria");
      card.querySelector(".error").textContent = line;
    } else $("decisions-alert").textContent = line;
    if (!focused) return;
    if (line) focused.setAttribute("aria-invalid", "true");
    focused.focus();
  }

  function changed() {
    $("state-kind").textContent = isJson($("state").value) ? "sent as JSON" : "sent as text; JSON is taken too";
    $("changed").hidden = !asked || body({ ...asked, state: $("state").value, questions: cards().map(read) }) === body(asked);
  }

  // --- answers

  // [what is shown, its probability] of each option, in the order of the fields.
  function options(question) {
    const answer = answers[question.name];
    if (question.type === "noul") return [["yes", answer.noul], ["no", 1 - answer.noul]];
    const names = question.type === "score" ? question.lines.map((line, level) => [`${level}`, `${level}: ${line}`])
      : question.options.map(([name]) => [name, name]);
    return names.map(([name, shown]) => [shown, answer.probabilities[name]]);
  }

  function drawn(question) {
    const answer = answers[question.name], found = options(question);
    const best = Math.max(...found.map(([, probability]) => probability));
    const tied = found.filter(([, probability]) => probability > best - 1e-9).length > 1;
    const card = make("section", "answer"), title = make("div", "split");
    title.append(make("h3", "", question.name));
    if (points().length) {
      const sure = best >= threshold;
      title.append(make("span", sure ? "tag go" : "tag wait", sure ? "automatic" : "for a person"));
    }
    const confidence = (answer.confidence ?? 2 * best - 1).toFixed(3);
    const score = question.type === "score" ? `score ${answer.score.toFixed(2)} of 0 to ${found.length - 1}, ` : "";
    card.append(title, make("p", "soft", `${score}confidence ${confidence}${answer.calibrated ? "" : ", not calibrated"}`));
    for (const [shown, probability] of found) {
      const is = probability > best - 1e-9;
      const line = make("div", is ? "option chosen" : "option"), text = make("div");
      text.append(make("span", "", shown));
      if (is) text.append(make("span", "tag", tied ? "tied" : "best"));
      text.append(make("span", "number", probability.toFixed(3)));
      line.append(text, track(probability));
      card.append(line);
    }
    return card;
  }

  function show() {
    $("answers-card").hidden = !answers;
    if (!answers) return;
    const all = asked.questions.every(({ name }) => answers[name].calibrated);
    $("probable").textContent = (all ? "Calibrated: of answers that are given with 0.8, about 80% are right, on questions like those of the calibration."
      : "Not calibrated: these numbers rank the options, and say little about how often the best is right.")
      + " Confidence is 0 where all options are equally probable, and 1 where one is certain.";
    $("answers").replaceChildren(...asked.questions.map(drawn));
  }

  // --- shuffling

  // Another order; chance may not give the same.
  function shuffled(list) {
    const found = list.map(one => [Math.random(), one]).sort(([one], [other]) => one - other).map(([, one]) => one);
    return found.every((one, place) => one === list[place]) ? [...found.slice(1), ...found.slice(0, 1)] : found;
  }

  async function shuffle() {
    $("shuffled").textContent = "";
    const refuse = (line, field) => { $("shuffled").textContent = line; field?.focus(); };
    const questions = shuffled(asked.questions).map(one => ({ ...one, options: shuffled(one.options) }));
    const said = await post($("shuffle"), "v1/systemone", body({ ...asked, questions }), refuse);
    if (!said) return;
    const numbers = () => asked.questions.flatMap(one => options(one).map(([, probability]) => probability));
    const before = numbers();
    answers = said.answers;
    const change = Math.max(...numbers().map((value, place) => Math.abs(value - before[place])));
    const choices = questions.filter(one => one.type === "choice");
    const order = choices.map(one => `${one.name}: ${one.options.slice(0, 8).map(([name]) => name).join(", ")}`
      + (one.options.length > 8 ? ", …" : ""));
    if (questions.length > 1) order.push(`questions: ${questions.map(({ name }) => name).join(", ")}`);
    $("shuffled").replaceChildren(make("strong", "", `Largest change: ${change.toFixed(3)}. `), order.length
      ? `Asked again in this order: ${order.join("; ")}. Levels of a score keep theirs, which has a meaning.`
      : "Asked again; here is nothing to shuffle: a choice has options, and several questions have an order.");
    show();
  }

  // --- the threshold

  const points = () => served.risk_coverage?.points ?? [];
  const percent = share => `${(100 * share).toFixed(1)}%`;

  // [coverage, risk] of what is at least so probable; the points are [threshold, coverage, risk], the surest first.
  const at = least => points().findLast(([sure]) => sure >= least)?.slice(1) ?? [0, null];

  function line(tag, attributes, text) {
    const found = document.createElementNS($("curve").namespaceURI, tag);
    for (const [name, value] of Object.entries(attributes)) found.setAttribute(name, value);
    found.textContent = text ?? "";
    return found;
  }

  function draw() {
    const known = served.risk_coverage, [coverage, risk] = at(threshold);
    const count = coverage * known.questions, wrong = count * (risk ?? 0);
    $("threshold-shown").textContent = threshold.toFixed(3);
    $("threshold").setAttribute("aria-valuetext", threshold.toFixed(3));
    $("at-threshold").textContent = risk === null
      ? `None of the ${known.questions} calibration questions has so probable an answer.`
      : `Of ${known.questions} calibration questions, ${percent(coverage)} (${Math.round(count)}) are answered automatically; `
        + `of those, ${percent(risk)} (${+wrong.toFixed(1)}) are wrong.`;
    const top = Math.max(0.05, 1.1 * Math.max(known.budget ?? 0, ...points().map(([, , risk]) => risk)));
    const x = share => 44 + 276 * share, y = share => 150 - 136 * share / top;
    const path = points().map(([, coverage, risk], place) => `${place ? "L" : "M"}${x(coverage)} ${y(risk)}`).join("");
    const ticks = [0, known.budget ?? top].filter((share, place, all) => place || y(0) - y(all[1]) > 14);
    const drawn = [
      line("path", { class: "axis", d: `M${x(0)} ${y(top)}V${y(0)}H${x(1)}` }),
      ...[0, 0.5, 1].map(share => line("text", { x: x(share), y: 167, "text-anchor": "middle" }, `${100 * share}%`)),
      line("text", { x: x(1), y: 185, "text-anchor": "end" }, "answered automatically"),
      line("text", { x: x(0) + 6, y: y(top) + 8 }, "wrong of those"),
      ...ticks.map(share => line("text", { x: x(0) - 5, y: y(share) + 4, "text-anchor": "end" }, `${+(100 * share).toFixed(1)}%`)),
      line("path", { class: "curve", d: path }),
    ];
    if (known.budget !== null) drawn.push(line("path", { class: "budget", d: `M${x(0)} ${y(known.budget)}H${x(1)}` }));
    if (risk !== null) drawn.push(line("circle", { cx: x(coverage), cy: y(risk), r: 6 }));
    $("curve").replaceChildren(...drawn);
    $("curve").setAttribute("aria-label", `Share of wrong answers by the share that is answered. ${$("at-threshold").textContent}`);
    show();
  }

  function about() {
    const known = served.risk_coverage, budget = known?.budget ?? null;
    [asked, answers, threshold] = [null, null, known?.threshold ?? 0.5];
    $("threshold").value = threshold;
    $("threshold-dial").hidden = !points().length;
    $("no-threshold").textContent = points().length ? "Answers that are probable enough are taken as they are; the others are for a person."
      : known ? "These heads were calibrated before the curve for a threshold was kept: run “likra calibrate” again to have it."
      : served.heads.length ? "These heads are not calibrated, so there is no threshold to choose: “likra calibrate” gives one."
      : "A base alone is not calibrated, so there is no threshold to choose: train heads, then “likra calibrate” gives one.";
    $("budget").textContent = budget === null ? ""
      : known.threshold === null ? `At the error budget of ${percent(budget)} (dashed), nothing can be automated.`
      : `The threshold for the error budget of ${percent(budget)} (dashed) is ${known.threshold.toFixed(3)}.`;
    if (points().length) draw();
    show();
    changed();
  }

  $("threshold").addEventListener("input", () => {
    // Where the slider stands on the budget's threshold, up to its step, that one is meant.
    const own = served.risk_coverage.threshold, moved = Number($("threshold").value);
    threshold = own !== null && Math.abs(moved - own) < 0.005 ? own : moved;
    draw();
  });
  $("add-question").addEventListener("click", () => {
    field(add({ name: unused(), type: "choice", instructions: "", criteria: "" }), "name").focus();
    changed();
  });
  $("decisions-form").addEventListener("input", changed);
  $("decisions-form").addEventListener("submit", event => { event.preventDefault(); ask(); });
  $("shuffle").addEventListener("click", shuffle);
  $("state").value = SAMPLE.state;
  SAMPLE.questions.forEach(add);
  about();
  return { about, refuse };
})();
