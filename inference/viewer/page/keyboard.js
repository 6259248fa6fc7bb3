// Keys do what buttons do, unless they are meant for what has the focus.

// keys: {key in lower case: function}
export function listenForKeys(keys) {
  document.addEventListener("keydown", (event) => {
    const { target } = event;
    const key = event.key.toLowerCase();
    const typing = target.matches("input[type=number], select, dialog *");
    const pressing = key === " " && target.matches("button, summary");
    if (typing || pressing || event.ctrlKey || event.metaKey || event.altKey || !(key in keys)) return;
    event.preventDefault();
    keys[key]();
  });
}
