// The panel in the browser: native elements, no library, no network. It draws the state that the kernel shares (labels,
// last characters, names, counts) and sends one-way messages. A key leaves its field in a message and is kept nowhere.

const TABS = { keys: "Keys", models: "Models", health: "Health" };

// A notebook acts on keys within its cells: b, dd, x, and Ctrl with Enter, an arrow or one of these letters. Others with
// Ctrl or Cmd, such as Ctrl+S, are for the whole page.
function isForThePage({ ctrlKey, metaKey, key }) {
  return (ctrlKey || metaKey) && key.length === 1 && !"acvxyzZM-_".includes(key);
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
    const active = focused();
    const had = place.contains(active) ? active : null;
    const typed = had && had.tagName === "INPUT" ? had.value : null;
    isRedrawn = true;  // what is replaced loses the focus, and no one left it
    const { scrollTop } = place;
    place.replaceChildren(...content.flat());
    place.scrollTop = scrollTop;
    isRedrawn = false;
    if (!had) return;
    const again = [...place.querySelectorAll("[data-at]")].find((node) => node.dataset.at === had.dataset.at);
    if (again && typed !== null && again.type !== "checkbox") again.value = typed;
    (again?.disabled ? again.parentElement.querySelector("button:enabled") : again || heads[open])?.focus();
  }

  const focused = () => el.getRootNode().activeElement;  // not the document's: marimo draws within a shadow root
  const desk = { model, send, say, spot, paint, asking, redraw, emptier, focused, isRedrawn: () => isRedrawn };
  const tabs = { keys: keysTab(desk), models: modelsTab(desk) };
  for (const [name, tab] of Object.entries(tabs)) panes[name].append(...tab.content);

  // --- health
  const routeList = h("div", {});
  const cut = h("p", { class: "dim" }, "Only routes of the models that the tab Models shows; llm.health() lists every hold.");
  function drawCut() {
    const { part, shown, total } = model.get("model_counts") || {};
    cut.hidden = !part && shown === total;
  }
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
  function drawPlace() { practice.hidden = !model.get("place")?.is_practice; }
  const root = h("div", { class: "llm-panel", role: "region", "aria-label": "Keys, models and health of llm_executor_nb" },
    practice, list, Object.values(panes), status);
  root.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && asked) forget();
    if (!isForThePage(event)) event.stopPropagation();
  });
  el.append(root);

  const drawn = [...tabs.keys.draws, ...tabs.models.draws, ["model_counts", drawCut], ["route_rows", drawRoutes], ["place", drawPlace]];
  for (const [name, draw] of drawn) { draw(); model.on(`change:${name}`, draw); }
  model.on("msg:custom", receive);
  choose(open);
  model.send({ id: `${view}-0` });  // the panel is drawn: the kernel begins to update it once a second
  return () => {
    for (const [name, draw] of drawn) model.off(`change:${name}`, draw);
    model.off("msg:custom", receive);
    for (const { late } of waiting.values()) clearTimeout(late);
    tabs.models.stop();
  };
}

export default { render };
