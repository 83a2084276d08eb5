// A Stop button below a job that no cell waits for.

function render({ model, el }) {
  const kernel = model.widget_manager?.kernel;
  const button = document.createElement("button");
  button.type = "button";
  const square = document.createElement("span");
  square.setAttribute("aria-hidden", "true");
  square.textContent = "■ ";
  button.append(square, "Stop the job");
  const message = document.createElement("span");
  message.setAttribute("role", "status");
  let late;

  // A kernel that was killed or restarted ends the job, and can no longer take the button out.
  function checkKernel(_, status) {
    if (!["dead", "restarting", "autorestarting", "terminating"].includes(status)) return;
    clearTimeout(late);
    button.disabled = true;
    message.textContent = "The kernel is gone, and the job with it.";
  }
  kernel?.statusChanged?.connect?.(checkKernel);

  button.addEventListener("click", () => {
    button.disabled = true;
    message.textContent = "Stopping …";
    model.send({ do: "stop" });
    late = setTimeout(() => { message.textContent = "It stops when the running cell has ended."; }, 1500);
  });
  // the notebook's own shortcuts (b, dd, x, Enter) must not act on the cell while the button has the focus
  el.addEventListener("keydown", (event) => event.stopPropagation());
  el.classList.add("llm-stop");
  el.append(button, message);
  return () => {
    clearTimeout(late);
    kernel?.statusChanged?.disconnect?.(checkKernel);
  };
}

export default { render };
