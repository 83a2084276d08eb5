// The tab Models: a search of the catalogue, and a card for each model of the table.

function modelsTab({ model, send, say, spot, asking, redraw, emptier, focused }) {
  const WANTED = { free: "free", images: "images", files: "files", tools: "tools", schema: "structured output" };

  // --- the catalogue
  const [textField, text] = field("Search all models", spot("search text"), { placeholder: "gemma", type: "search", onkeydown: onEnter(search), class: "wide" });
  const wanted = Object.keys(WANTED).map((name) => h("input", { type: "checkbox", value: name }));
  function search() {
    const only = wanted.filter((one) => one.checked).map((one) => one.value);
    send("models", "search", { text: text.value, only }, "search", () => { offerList.scrollTop = 0; });
  }
  const offerList = h("div", { class: "offers" });
  const close = button("Close", "Close the list of all models", () => send("models", "close", {}, "", () => text.focus()));

  function offerRow(row) {
    const name = row.is_listed ? `Show ${row.model} in the table` : `Add ${row.model}`;
    const find = () => send("models", "find", { part: row.model }, "", () => focusOn(row.model));
    const run = () => {
      if (!row.is_listed) send("models", "add", { model: row.model, providers: null }, `offer ${row.model}`);
      else if (!focusOn(row.model)) find();
    };
    return h("tr", {},
      cell("Model", h("strong", {}, row.model), row.marks && h("div", { class: "dim" }, row.marks), spot(`offer ${row.model} model`)),
      cell("Price per 1M", row.price),
      cell("Context", row.context),
      cell("Providers", row.providers),
      h("td", { class: "acts" }, button(row.is_listed ? "Show" : "Add", name, run, { class: "take", "data-at": `offer ${row.model}` })));
  }
  function drawOffers() {
    const { rows, caption } = model.get("offers") || {};
    close.hidden = !rows;
    redraw(offerList, rows ? table(caption, ["Model", "Price per 1M tokens", "Context", "Hugging Face providers", ""], rows.map(offerRow), caption) : "");
  }

  // --- the table
  const cards = h("div", {});
  const [modelField, modelName] = field("Model", spot("add-model model"), { placeholder: "google/gemma-3-27b-it", onkeydown: onEnter(add), class: "wide" });
  const [providersField, providerNames] = field("Providers", spot("add-model providers"), { placeholder: "empty: all that serve it", onkeydown: onEnter(add) });
  const [aliasField, aliasName] = field("Alias", spot("add-model alias"), { placeholder: "optional", onkeydown: onEnter(add) });
  function add() {
    if (!modelName.value.trim()) { say("Enter the model's id first.", "bad", "add-model model"); modelName.focus(); return; }
    const fields = { model: modelName.value, providers: providerNames.value, alias: aliasName.value };
    send("models", "add", fields, "add-model", emptier(modelName, providerNames, aliasName));
  }
  let finding;
  const [partField, part] = field("Find in the table", spot("find"), { placeholder: "a part of a name", type: "search", oninput: () => {
    clearTimeout(finding);
    finding = setTimeout(() => send("models", "find", { part: part.value }), 300);
  } });
  const counted = h("p", { class: "dim" });
  const finder = h("div", { class: "bar", role: "search", "aria-label": "Find in the table" }, partField, counted);

  // Go to the card of a model; return whether it is shown.
  function focusOn(name) {
    const input = [...cards.querySelectorAll("input")].find((one) => one.dataset.at === `alias ${name}`);
    input?.focus();
    return Boolean(input);
  }

  function card(row) {
    const at = (what) => ({ "data-at": `${what} ${row.model}` });
    const names = row.providers.map((one) => one.name);
    const top = `card ${row.model}`, end = `providers ${row.model}`;
    const set = (providers, then) => send("models", "providers", { model: row.model, providers }, end, then);
    const move = (one, to) => { const next = [...names]; next.splice(to, 0, ...next.splice(one, 1)); set(next); };
    const addTo = (what, hint, name, run) => {
      const input = h("input", { type: "text", "aria-label": name, placeholder: hint, size: 14, autocomplete: "off", spellcheck: "false", ...at(what) });
      const mark = input.dataset.at;
      const empty = () => { for (const one of cards.querySelectorAll("input")) if (one.dataset.at === mark) one.value = ""; };
      const go = () => { if (input.value.trim()) run(input.value.trim(), empty); };
      input.addEventListener("keydown", onEnter(go));
      return h("span", { class: "adder" }, input, button("+", name, go));
    };
    let dragged;
    const dragging = (number) => ({
      draggable: "true",
      ondragstart: (event) => { event.dataTransfer.setData("text/plain", names[number]); dragged = number; },
      ondragend: () => { dragged = undefined; },
      ondragover: (event) => { if (dragged !== undefined) event.preventDefault(); },
      ondrop: (event) => { event.preventDefault(); if (dragged !== undefined && dragged !== number) move(dragged, number); },
    });
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
        h("li", { class: one.mark ? "stale" : "", onkeydown: onShift(number, names.length, (to) => move(number, to)), ...dragging(number) }, h("div", {},
          h("span", { class: "provider" }, one.name),
          button("↑", `Move ${one.name} up`, () => move(number, number - 1), { disabled: number === 0, ...at(`up ${one.name}`) }),
          button("↓", `Move ${one.name} down`, () => move(number, number + 1), { disabled: number === names.length - 1, ...at(`down ${one.name}`) }),
          asking("×", `Remove ${one.name} from ${row.model}`, `Remove ${one.name} from ${row.model}?`, end, () => set(names.filter((name) => name !== one.name)), at(`out ${one.name}`)),
          one.mark ? h("em", { title: one.mark }, one.mark) : "")))),
      h("div", { class: "line wrap" },
        addTo("provider", "provider", `Add provider to ${row.model}`, (name, then) => set([...names, name], then)),
        row.missing.length ? dim("also offered:") : "",
        row.missing.map((name) => button(`+ ${name}`, `Add ${name} to ${row.model}`, () => set([...names, name])))),
      spot(end));
  }

  function counts() { return model.get("model_counts") || {}; }
  function drawCards() {
    const rows = model.get("model_rows") || [];
    redraw(cards, rows.length ? rows.map(card) : h("p", { class: "dim" }, counts().part ? "No model of the table has that text in its names." : "No model in the table. Search for one above."));
  }
  function drawCounts() {
    const { part: sought = "", shown = 0, matching = 0, total = 0 } = counts();
    finder.hidden = !sought && shown === total;
    if (focused() !== part) part.value = sought;
    counted.textContent = `${shown.toLocaleString("en")} of ${(sought ? matching : total).toLocaleString("en")} models ${sought ? "with that text in a name" : ""}`;
    drawCards();
  }

  return {
    content: [
      h("div", { class: "bar", role: "search", "aria-label": "Search all models" }, textField,
        h("fieldset", {}, h("legend", {}, "Only with"), Object.values(WANTED).map((word, number) => h("label", { class: "line" }, wanted[number], word))),
        button("Search", "Search OpenRouter's and Hugging Face's lists", search, { class: "main" }),
        close),
      offerList,
      h("div", { class: "bar", role: "group", "aria-label": "Add a model" }, modelField, providersField, aliasField, button("Add model", "Add model", add)),
      finder, cards,
      h("div", { class: "bar foot" },
        button("Compare with Hugging Face", "Compare with Hugging Face", () => send("models", "sync")),
        asking("Update the table", "Update the table from Hugging Face", "Take out the providers that no longer offer a model, and add those that do?", "", () => send("models", "apply"), { "data-at": "apply" }),
        button("Save table", "Save table for later sessions", () => send("models", "save"))),
    ],
    draws: [["model_rows", drawCards], ["model_counts", drawCounts], ["offers", drawOffers]],
    stop: () => clearTimeout(finding),
  };
}
