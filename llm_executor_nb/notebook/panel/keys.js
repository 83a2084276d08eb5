// The tab Keys: a sign-in, a field for a key, and a row for each key.

function keysTab({ model, send, say, spot, paint, asking, redraw, isRedrawn, emptier }) {
  // --- sign in: the link, then the code. The pasted text goes in one way, like a key.
  const link = h("a", { target: "_blank", rel: "noopener noreferrer" }, "Open OpenRouter's page");
  const [codeField, code] = field("2. Code from that page", spot("sign-in code"), { type: "password", onkeydown: onEnter(finish), class: "wide" });
  const begin = button("Sign in to OpenRouter", "Sign in to OpenRouter", () => send("keys", "sign_in", {}, "sign-in begin", () => link.focus()), { class: "main" });
  const start = h("div", { class: "line wrap start" }, begin, dim("No key to copy. For Hugging Face run llm.login(\"huggingface\") in a cell."), spot("sign-in begin"));
  const steps = h("div", { class: "bar", role: "group", "aria-label": "Sign in to OpenRouter" },
    h("div", { class: "field" }, h("span", { class: "dim" }, "1. Agree there"), link), codeField,
    button("Finish", "Finish the sign-in", finish, { class: "main" }),
    button("Cancel", "Cancel the sign-in", () => send("keys", "cancel_sign_in", {}, "sign-in code", () => begin.focus())));
  function finish() {
    if (!code.value.trim()) { say("Paste the code first.", "bad", "sign-in code"); code.focus(); return; }
    send("keys", "finish_sign_in", { key: code.value }, "sign-in", () => begin.focus());
    code.value = "";
  }
  function drawSignIn() {
    const { sign_in: url } = model.get("place") || {};
    start.hidden = Boolean(url);
    steps.hidden = !url;
    if (url) link.href = url;
    else code.value = "";
  }

  // --- keys
  const list = h("div", { class: "keys" });
  const backend = h("select", { class: "grow" });
  const [keyField, key] = field("API key", spot("add-key key"), { type: "password", onkeydown: onEnter(add), class: "wide" });
  const [labelField, label] = field("Label", spot("add-key label"), { placeholder: "optional", onkeydown: onEnter(add) });
  const saveTo = h("select", {}, h("option", { value: "keyring" }, "the system's keyring"), h("option", { value: "file" }, "a file only you can read"));
  function add() {
    if (!key.value.trim()) { say("Paste a key first.", "bad", "add-key key"); key.focus(); return; }
    send("keys", "add", { backend: backend.value, key: key.value, label: label.value.trim() }, "add-key", emptier(label));
    key.value = "";
  }
  function drawBackends() {
    const { backends = [] } = model.get("place") || {};
    const chosen = backend.value;
    backend.replaceChildren(...backends.map((name) => h("option", { value: name }, name)));
    if (backends.includes(chosen)) backend.value = chosen;
  }

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
    name.addEventListener("blur", () => { if (!isRedrawn()) rename(); });
    const move = (to) => act("move", { to });
    const kept = row.saved_in === "file" ? "the key file" : "the keyring";
    const lost = row.saved_in ? ` It is also deleted from ${kept}.` : row.source === "session" ? " It is not saved anywhere." : "";
    return [h("tr", { class: row.is_enabled ? "" : "off", onkeydown: onShift(number - 1, last, (to) => move(to + 1)()) },
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
      const spots = [...list.querySelectorAll("[data-spot]")];
      for (const row of rows) spots.filter((one) => one.dataset.spot === spotOf(row)).forEach((one) => tell(one, row));
      return;
    }
    laidOut = layout;
    const count = {};
    for (const row of rows) count[row.backend] = (count[row.backend] || 0) + 1;
    const seen = {};
    redraw(list, table("Keys, in the order they are asked", ["Backend", "Key", "From", "Actions"],
      rows.map((row) => keyRow(row, (seen[row.backend] = (seen[row.backend] || 0) + 1), count[row.backend])),
      "No key yet. Sign in or paste one above; it stays in this session unless you save it."));
  }

  return {
    content: [
      start, steps,
      h("div", { class: "bar", role: "group", "aria-label": "Add a key" },
        h("div", { class: "field" }, h("label", {}, h("span", {}, "Backend"), backend)), keyField, labelField,
        button("Add key", "Add key", add)),
      list,
      h("div", { class: "bar foot" },
        h("label", { class: "field line" }, h("span", {}, "Save to"), saveTo),
        button("Search for keys again", "Search for keys again in every place", () => send("keys", "refresh"))),
    ],
    draws: [["key_rows", drawKeys], ["place", drawSignIn], ["place", drawBackends]],
  };
}
