// A Stop button under a job. It draws nothing where it could do nothing.

function render({ model, el }) {
  const isInterrupt = model.get("is_interrupt");
  const kernel = model.widget_manager?.kernel;
  if (isInterrupt && typeof kernel?.interrupt !== "function") return;

  const button = document.createElement("button");
  button.type = "button";
  const square = document.createElement("span");
  square.setAttribute("aria-hidden", "true");
  square.textContent = "■ ";
  button.append(square, "Stop the job");
  const said = document.createElement("span");
  said.setAttribute("role", "status");
  let late;

  function fail() {
    said.textContent = "It could not be stopped from here; use ■ in the toolbar.";
    button.disabled = false;
  }

  // A kernel that was killed or restarted takes the job with it, and nobody is left to take the button out.
  function look(_, status) {
    if (!["dead", "restarting", "autorestarting", "terminating"].includes(status)) return;
    clearTimeout(late);
    button.disabled = true;
    said.textContent = "The kernel is gone, and the job with it.";
  }
  kernel?.statusChanged?.connect?.(look);

  button.addEventListener("click", () => {
    button.disabled = true;
    said.textContent = "Stopping …";
    if (isInterrupt) {
      Promise.resolve(kernel.interrupt()).catch(fail);
    } else {
      model.send({ do: "stop" });
      late = setTimeout(() => { said.textContent = "It stops when the running cell has ended."; }, 1500);
    }
  });
  // the notebook's own keys (b, dd, x, Enter) must not act on the cell while the button has the focus
  el.addEventListener("keydown", (event) => event.stopPropagation());
  el.classList.add("llm-stop");
  el.append(button, said);
  return () => {
    clearTimeout(late);
    kernel?.statusChanged?.disconnect?.(look);
  };
}

export default { render };
