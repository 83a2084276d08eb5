// The native elements that the panel is made of.

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

function table(caption, columns, rows, empty) {
  if (!rows.length) return h("p", { class: "dim" }, empty);
  return h("table", {},
    h("caption", {}, caption),
    h("thead", {}, h("tr", {}, columns.map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, rows.flat()));
}

const dim = (text) => h("span", { class: "dim" }, text);
const cell = (head, ...inside) => h("td", { "data-head": head }, ...inside);

function onEnter(run) {
  return (event) => { if (event.key === "Enter") { event.preventDefault(); run(); } };
}

// Return the key handler of something that moves up and down in a list.
function onShift(number, count, move) {
  return (event) => {
    const to = number + ({ ArrowUp: -1, ArrowDown: 1 }[event.key] || 0);
    if (!event.altKey || to === number || to < 0 || to >= count) return;
    event.preventDefault();
    move(to);
  };
}
