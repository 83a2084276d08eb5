// The panel in the browser: native elements, no library, no network. It draws the state that the kernel shares (labels,
// last characters, names, counts) and sends one-way messages. A key leaves its field in a message and is kept nowhere.

const TABS = { keys: "Keys", models: "Models", health: "Health" };

function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === false || value === null) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "disabled") node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== "" && child != null));
  return node;
}

function button(text, name, run, props = {}) {
  return h("button", { type: "button", "aria-label": name === text ? undefined : name, title: name, onclick: run, ...props }, text);
}

// A field has room below it for what is wrong with it.
function field(text, below, props) {
  const input = h("input", { type: "text", autocomplete: "off", spellcheck: "false", "aria-describedby": below.id, ...props });
  below.input = input;
  return [h("div", { class: "field" }, h("label", {}, h("span", {}, text), input), below), input];
}

function onEnter(run) {
  return (event) => { if (event.key === "Enter") { event.preventDefault(); run(); } };
}

let views = 0;

function render({ model, el }) {
  const view = `${Date.now().toString(36)}-${++views}`;
  const waiting = new Map();
  let sent = 0;
  let open = "keys";

  // --- messages to the kernel, and its replies
  // One live region speaks. What belongs to a field or a row is seen there, in the spot of that name, not at the end.
  const status = h("p", { class: "status", role: "status", "aria-live": "polite" });
  let told = {};
  function say(text, kind = "", name = "") {
    told = { text, kind, name };
    const spots = [...root.querySelectorAll("[data-spot]")];
    spots.forEach(paint);
    status.textContent = text;
    status.className = `status ${kind} ${spots.some((one) => one.dataset.spot === name && one.offsetParent) ? "unseen" : ""}`;
  }
  function paint(spot) {
    const isTold = Boolean(told.text) && told.name === spot.dataset.spot;
    spot.className = `spot ${isTold ? told.kind : ""}`;
    spot.replaceChildren(...(isTold ? [told.text] : spot.usual));
    spot.input?.setAttribute("aria-invalid", String(isTold));
  }
  function spot(name, ...usual) {
    const node = h("p", { "data-spot": name, id: `${view}-${name.replace(/\W+/g, "-")}` });
    node.usual = usual;
    paint(node);
    return node;
  }

  // `then` is called on success; after a refusal the typed text stays in its field, and the reason stands at `name`.
  function send(tab, what, fields = {}, name = "", then = () => {}) {
    const id = `${view}-${++sent}`;
    ask("");
    say("…", "wait");
    const late = setTimeout(() => say("Waiting: it will be done when the running cell ends.", "wait", name), 1200);
    const kind = what === "test" ? "" : "good";  // a test may find that a key does not work: its row has the colour
    waiting.set(id, { late, name, then, kind });
    model.send({ id, tab, do: what, ...fields });
  }

  // Empty the fields, unless something else was typed since.
  function emptier(...inputs) {
    const typed = inputs.map((input) => input.value);
    return () => inputs.forEach((input, number) => { if (input.value === typed[number]) input.value = ""; });
  }

  function receive(reply) {
    if (!reply || !waiting.has(reply.id)) return;
    const { late, name, then, kind } = waiting.get(reply.id);
    clearTimeout(late);
    waiting.delete(reply.id);
    if (reply.ok) then();
    say(reply.text, reply.ok ? kind : "bad", reply.ok ? "" : [name, reply.field].filter(Boolean).join(" "));
  }

  // --- what takes something away asks first: a second press does it; Escape, or leaving the button, does not
  let asked = "";
  function ask(mark) {
    asked = mark;
    root.querySelectorAll("button.asks").forEach(paintAsking);
  }
  function paintAsking(node) {
    const [text, name] = node.usual, isAsked = node.dataset.at === asked;
    if (isAsked && node.offsetWidth) node.style.minWidth = `${node.offsetWidth}px`;
    node.textContent = isAsked ? (text.length > 1 ? "Sure?" : "?") : text;
    node.setAttribute("aria-label", isAsked ? `Sure? ${name}` : name);
    node.classList.toggle("sure", isAsked);
  }
  function asking(text, name, question, where, run, props) {
    const mark = props["data-at"];
    const node = button(text, name, () => {
      if (asked === mark) { run(); return; }
      ask(mark);
      say(`${question} Press again to do it, Escape to leave it.`, "wait", where);
    }, { ...props, class: `asks ${props.class || ""}` });
    node.usual = [text, name];
    node.addEventListener("blur", () => { if (!isRedrawn && asked === mark) ask(""); });  // the question stays, so nothing moves
    paintAsking(node);
    return node;
  }
  function forget() { ask(""); say(""); }

  // --- tabs
  const panes = {};
  const heads = {};
  function choose(name, focus) {
    if (name !== open && !waiting.size) forget();
    open = name;
    for (const one of Object.keys(TABS)) {
      heads[one].setAttribute("aria-selected", String(one === name));
      heads[one].tabIndex = one === name ? 0 : -1;
      panes[one].hidden = one !== name;
    }
    if (focus) heads[name].focus();
  }
  function step(event) {
    const names = Object.keys(TABS);
    const at = names.indexOf(open);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: names.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    choose(names[(to + names.length) % names.length], true);
  }
  const list = h("div", { role: "tablist", "aria-label": "Panel", class: "tabs", onkeydown: step });
  for (const [name, text] of Object.entries(TABS)) {
    heads[name] = h("button", { type: "button", role: "tab", id: `${view}-tab-${name}`, "aria-controls": `${view}-${name}`, onclick: () => choose(name) }, text);
    panes[name] = h("div", { role: "tabpanel", id: `${view}-${name}`, "aria-labelledby": `${view}-tab-${name}`, class: "pane" });
    list.append(heads[name]);
  }

  // Redraw a part. What had the focus is replaced, so what has the same mark gets it, or else the tab's head.
  let isRedrawn = false;
  function redraw(place, ...content) {
    const active = el.getRootNode().activeElement;  // not the document's: marimo draws within a shadow root
    const had = place.contains(active) ? active : null;
    const typed = had && had.tagName === "INPUT" ? had.value : null;
    isRedrawn = true;  // what is replaced loses the focus, and no one left it
    place.replaceChildren(...content.flat());
    isRedrawn = false;
    if (!had) return;
    const again = [...place.querySelectorAll("[data-at]")].find((node) => node.dataset.at === had.dataset.at);
    if (again && typed !== null && again.type !== "checkbox") again.value = typed;
    (again?.disabled ? again.parentElement.querySelector("button:enabled") : again || heads[open])?.focus();
  }

  const dim = (text) => h("span", { class: "dim" }, text);
  const cell = (head, ...inside) => h("td", { "data-head": head }, ...inside);
  function table(caption, columns, rows, empty) {
    if (!rows.length) return h("p", { class: "dim" }, empty);
    return h("table", {},
      h("caption", {}, caption),
      h("thead", {}, h("tr", {}, columns.map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, rows.flat()));
  }

  // --- keys
  const keyList = h("div", { class: "keys" });
  const backend = h("select", { class: "grow" });
  const [keyField, key] = field("API key", spot("add-key key"), { type: "password", onkeydown: onEnter(add), class: "wide" });
  const [labelField, label] = field("Label", spot("add-key label"), { placeholder: "optional", onkeydown: onEnter(add) });
  const saveTo = h("select", {}, h("option", { value: "keyring" }, "the system's keyring"), h("option", { value: "file" }, "a file only you can read"));
  function add() {
    if (!key.value.trim()) { say("Paste a key first.", "bad", "add-key key"); key.focus(); return; }
    send("keys", "add", { backend: backend.value, key: key.value, label: label.value.trim() }, "add-key", emptier(label));
    key.value = "";
  }
  panes.keys.append(
    h("div", { class: "bar", role: "group", "aria-label": "Add a key" },
      h("div", { class: "field" }, h("label", {}, h("span", {}, "Backend"), backend)), keyField, labelField,
      button("Add key", "Add key", add, { class: "main" })),
    keyList,
    h("div", { class: "bar foot" },
      h("label", { class: "field line" }, h("span", {}, "Save to"), saveTo),
      button("Search for keys again", "Search for keys again in every place", () => send("keys", "refresh"))));

  const spotOf = (row) => `key ${row.backend} ${row.ending}`;
  function tell(place, row) {
    const known = [!((row.held || row.found) && row.is_enabled) && h("span", {}, row.state), row.held && h("span", { class: "held" }, row.held),
      row.found && h("span", { class: { ok: "good", bad: "bad" }[row.grade] || "held" }, row.found), row.outcomes && h("span", {}, row.outcomes)].filter(Boolean);
    place.usual = known.flatMap((one, number) => (number ? [" · ", one] : [one]));
    place.title = known.map((one) => one.textContent).join(" · ");
    paint(place);
    return place;
  }

  function keyRow(row, number, last) {
    const fields = { backend: row.backend, shown: row.shown };
    const at = (what) => ({ "data-at": `${what} ${row.backend} ${row.ending}` });
    const here = spotOf(row);
    const act = (what, more) => () => send("keys", what, { ...fields, ...more }, here);
    const name = h("input", { type: "text", value: row.label, "aria-label": `Label of ${row.label}`, title: row.label, size: Math.max(10, row.label.length + 1), class: "name", autocomplete: "off", spellcheck: "false", ...at("label") });
    const rename = () => { if (name.value.trim() !== row.label) send("keys", "rename", { ...fields, label: name.value }, here); };
    name.addEventListener("keydown", (event) => {
      if (event.key === "Escape") name.value = row.label;
      if (event.key === "Enter" || event.key === "Escape") { event.preventDefault(); name.blur(); }
    });
    name.addEventListener("blur", () => { if (!isRedrawn) rename(); });
    const move = (to) => act("move", { to });
    const shift = (event) => {
      if (!event.altKey || !["ArrowUp", "ArrowDown"].includes(event.key)) return;
      event.preventDefault();
      const to = number + (event.key === "ArrowUp" ? -1 : 1);
      if (to >= 1 && to <= last) move(to)();
    };
    const kept = row.saved_in === "file" ? "the key file" : "the keyring";
    const lost = row.saved_in ? ` It is also deleted from ${kept}.` : row.source === "session" ? " It is not saved anywhere." : "";
    return [h("tr", { class: row.is_enabled ? "" : "off", onkeydown: shift },
      cell("Backend", row.backend),
      h("td", { class: "key" }, name, h("code", {}, row.ending)),
      cell("From", row.source, row.saved_in && row.source !== `saved in the ${row.saved_in}` ? dim(` · saved in the ${row.saved_in}`) : ""),
      h("td", { class: "acts" }, h("div", {},
        button("Test", `Test ${row.label}`, act("test"), { disabled: !row.is_enabled, ...at("test") }),
        button("↑", `Move ${row.label} up`, move(number - 1), { disabled: number === 1, ...at("up") }),
        button("↓", `Move ${row.label} down`, move(number + 1), { disabled: number === last, ...at("down") }),
        row.is_enabled
          ? button("Disable", `Disable ${row.label}`, act("disable"), { class: "switch", ...at("switch") })
          : button("Enable", `Enable ${row.label}`, act("enable"), { class: "switch", ...at("switch") }),
        row.saved_in
          ? asking("Delete saved", `Delete ${row.label} from ${kept}`, `Delete ${row.shown} from ${kept}? This session keeps it.`, here, act("forget"), { class: "save", ...at("save") })
          : button("Save", `Save ${row.label}`, () => send("keys", "save", { ...fields, to: saveTo.value }, here), { class: "save", ...at("save") }),
        asking("Remove", `Remove ${row.label}`, `Remove ${row.shown}?${lost}`, here, act("remove"), at("remove"))))),
    h("tr", { class: "known" }, h("td", { colspan: 4 }, tell(spot(here), row)))];
  }

  let laidOut = "";
  function drawKeys() {
    const rows = model.get("key_rows") || [];
    const layout = JSON.stringify(rows.map(({ held, outcomes, found, grade, ...row }) => row));
    if (rows.length && layout === laidOut) {  // a hold counts down: a button that is replaced under a click would miss it
      const spots = [...keyList.querySelectorAll("[data-spot]")];
      for (const row of rows) spots.filter((one) => one.dataset.spot === spotOf(row)).forEach((one) => tell(one, row));
      return;
    }
    laidOut = layout;
    const count = {};
    for (const row of rows) count[row.backend] = (count[row.backend] || 0) + 1;
    const seen = {};
    redraw(keyList, table("Keys, in the order they are asked", ["Backend", "Key", "From", "Actions"],
      rows.map((row) => keyRow(row, (seen[row.backend] = (seen[row.backend] || 0) + 1), count[row.backend])),
      "No key yet. Paste one above; it stays in this session unless you save it."));
  }

  // --- models
  const modelList = h("div", {});
  const [modelField, modelName] = field("Model", spot("add-model model"), { placeholder: "google/gemma-3-27b-it", onkeydown: onEnter(addModel), class: "wide" });
  const [providersField, providerNames] = field("Providers", spot("add-model providers"), { placeholder: "scaleway, featherless-ai", onkeydown: onEnter(addModel) });
  const [aliasField, aliasName] = field("Alias", spot("add-model alias"), { placeholder: "optional", onkeydown: onEnter(addModel) });
  function addModel() {
    if (!modelName.value.trim()) { say("Enter the model's id first.", "bad", "add-model model"); modelName.focus(); return; }
    const fields = { model: modelName.value, providers: providerNames.value, alias: aliasName.value };
    send("models", "add", fields, "add-model", emptier(modelName, providerNames, aliasName));
  }
  const [partField, part] = field("Find models", spot("find"), { placeholder: "a part of a name", type: "search", oninput: () => {
    clearTimeout(finding);
    finding = setTimeout(() => send("models", "find", { part: part.value }), 300);
  } });
  let finding;
  const counted = h("p", { class: "dim" });
  const finder = h("div", { class: "bar", role: "search" }, partField, counted);
  panes.models.append(
    h("div", { class: "bar", role: "group", "aria-label": "Add a model" }, modelField, providersField, aliasField,
      button("Add model", "Add model", addModel, { class: "main" })),
    finder, modelList,
    h("div", { class: "bar foot" },
      button("Compare with Hugging Face", "Compare with Hugging Face", () => send("models", "sync")),
      asking("Update the table", "Update the table from Hugging Face", "Take out the providers that no longer offer a model, and add those that do?", "", () => send("models", "apply"), { "data-at": "apply" }),
      button("Save table", "Save table for later sessions", () => send("models", "save"))));

  function modelCard(row) {
    const at = (what) => ({ "data-at": `${what} ${row.model}` });
    const names = row.providers.map((one) => one.name);
    const top = `card ${row.model}`, end = `providers ${row.model}`;
    const set = (providers, then) => send("models", "providers", { model: row.model, providers }, end, then);
    const swap = (one, to) => { const next = [...names]; next.splice(to, 0, ...next.splice(one, 1)); set(next); };
    const addTo = (what, text, name, run) => {
      const input = h("input", { type: "text", "aria-label": name, placeholder: text, size: 14, autocomplete: "off", spellcheck: "false", ...at(what) });
      const mark = input.dataset.at;
      const empty = () => { for (const one of modelList.querySelectorAll("input")) if (one.dataset.at === mark) one.value = ""; };
      const go = () => { if (input.value.trim()) run(input.value.trim(), empty); };
      input.addEventListener("keydown", onEnter(go));
      return h("span", { class: "adder" }, input, button("+", name, go));
    };
    const shift = (number) => (event) => {
      const to = number + ({ ArrowUp: -1, ArrowDown: 1 }[event.key] || 0);
      if (!event.altKey || to === number || to < 0 || to >= names.length) return;
      event.preventDefault();
      swap(number, to);
    };
    return h("section", { class: "card", "aria-label": row.model },
      h("header", {}, h("div", {},
        h("strong", {}, row.model),
        row.aliases.map((alias) => h("span", { class: "chip" }, alias,
          asking("×", `Remove alias ${alias}`, `Remove the alias ${alias}?`, top, () => send("models", "unalias", { alias }, top), at(`unalias ${alias}`)))),
        addTo("alias", "alias", `Add alias to ${row.model}`, (alias, then) => send("models", "alias", { model: row.model, alias }, top, then))),
        asking("Remove", `Remove ${row.model}`, `Remove ${row.model} with its providers and aliases?`, top, () => send("models", "remove", { model: row.model }, top), at("remove"))),
      spot(top),
      row.wrong ? h("p", { class: "bad" }, row.wrong) : "",
      h("label", { class: "line" },
        h("input", { type: "checkbox", checked: row.is_on_openrouter, "aria-label": `Ask OpenRouter for ${row.model}`, ...at("openrouter"),
          onchange: (event) => send("models", "openrouter", { model: row.model, is_on: event.target.checked }, end) }),
        "OpenRouter first, then"),
      h("ol", { "aria-label": `Providers of ${row.model}` }, row.providers.map((one, number) =>
        h("li", { class: one.mark ? "stale" : "", onkeydown: shift(number) }, h("div", {},
          h("span", { class: "provider" }, one.name),
          button("↑", `Move ${one.name} up`, () => swap(number, number - 1), { disabled: number === 0, ...at(`up ${one.name}`) }),
          button("↓", `Move ${one.name} down`, () => swap(number, number + 1), { disabled: number === names.length - 1, ...at(`down ${one.name}`) }),
          asking("×", `Remove ${one.name} from ${row.model}`, `Remove ${one.name} from ${row.model}?`, end, () => set(names.filter((name) => name !== one.name)), at(`out ${one.name}`)),
          one.mark ? h("em", { title: one.mark }, one.mark) : "")))),
      h("div", { class: "line wrap" },
        addTo("provider", "provider", `Add provider to ${row.model}`, (name, then) => set([...names, name], then)),
        row.missing.length ? dim("also offered:") : "",
        row.missing.map((name) => button(`+ ${name}`, `Add ${name} to ${row.model}`, () => set([...names, name])))),
      spot(end));
  }

  function drawModels() {
    const rows = model.get("model_rows") || [];
    redraw(modelList, rows.length ? rows.map(modelCard) : h("p", { class: "dim" }, counts().part ? "No model has that text in its names." : "No model in the table. Add one above."));
  }
  function counts() { return model.get("model_counts") || {}; }
  function drawCounts() {
    const { part: sought = "", shown = 0, matching = 0, total = 0 } = counts();
    finder.hidden = !sought && shown === total;
    if (el.getRootNode().activeElement !== part) part.value = sought;
    counted.textContent = `${shown.toLocaleString("en")} of ${(sought ? matching : total).toLocaleString("en")} models ${sought ? "with that text in a name" : ""}`;
    cut.hidden = finder.hidden;
    drawModels();
  }

  // --- health
  const routeList = h("div", {});
  const cut = h("p", { class: "dim" }, "Only routes of the models that the tab Models shows; llm.health() lists every hold.");
  panes.health.append(cut, routeList, h("div", { class: "bar foot" },
    button("Ask all routes again", "Ask all routes again: nothing stays on hold", () => send("health", "reset"))));
  function drawRoutes() {
    const rows = model.get("route_rows") || [];
    redraw(routeList, table("Routes, in the order they are asked", ["Model", "Route", "State", "Running", "Outcomes", "Upstream"],
      rows.map((row) => h("tr", {},
        cell("Model", row.model),
        cell("Route", row.route),
        h("td", { "data-head": "State", class: row.is_free ? "good" : "held" }, row.state),
        cell("Running", String(row.in_flight)),
        cell("Outcomes", row.outcomes || dim("none yet")),
        cell("Upstream", row.upstreams))),
      "No route yet: add a key."));
  }

  // --- all
  const practice = h("p", { class: "practice" }, "A rehearsal is running: keys and answers are for practice.");
  function drawPlace() {
    const place = model.get("place") || {};
    const chosen = backend.value;
    backend.replaceChildren(...(place.backends || []).map((name) => h("option", { value: name }, name)));
    if ((place.backends || []).includes(chosen)) backend.value = chosen;
    practice.hidden = !place.is_practice;
  }
  const root = h("div", { class: "llm-panel", role: "region", "aria-label": "Keys, models and health of llm_executor_nb" },
    practice, list, Object.values(panes), status);
  root.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && asked) forget();
    event.stopPropagation();  // else a notebook acts on b, dd, x and Enter
  });
  el.append(root);

  const drawn = { key_rows: drawKeys, model_rows: drawModels, model_counts: drawCounts, route_rows: drawRoutes, place: drawPlace };
  for (const [name, draw] of Object.entries(drawn)) { draw(); model.on(`change:${name}`, draw); }
  model.on("msg:custom", receive);
  choose(open);
  model.send({ id: `${view}-0` });  // the panel is drawn: the kernel begins to update it once a second
  return () => {
    for (const [name, draw] of Object.entries(drawn)) model.off(`change:${name}`, draw);
    model.off("msg:custom", receive);
    for (const { late } of waiting.values()) clearTimeout(late);
    clearTimeout(finding);
  };
}

export default { render };
