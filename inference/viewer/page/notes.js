// Notes at the foot of the portrait.

const SECONDS = 9;

// options: bad (an error), code (shown below, to be copied), action: [label, function]
export function note(text, { bad = false, code = "", action = null } = {}) {
  const box = document.createElement("div");
  box.className = bad ? "note bad" : "note";
  const words = document.createElement("span");
  words.textContent = text;
  box.append(words);
  if (code) {
    const line = document.createElement("code");
    for (const part of code.split(/ (?=--)/)) { // an option and its value stay on one line
      const span = Object.assign(document.createElement("span"), { textContent: part });
      line.append(span, " ");
    }
    words.append(document.createElement("br"), line);
    addButton("Copy", () => navigator.clipboard?.writeText(code));
  }
  if (action) addButton(action[0], () => (action[1](), box.remove()));
  addButton("×", () => box.remove()).setAttribute("aria-label", "Dismiss");
  const list = document.getElementById("notes");
  while (list.childElementCount > 2) list.firstChild.remove();
  list.append(box);
  if (!code) setTimeout(() => box.remove(), 1000 * SECONDS);

  function addButton(label, act) {
    const button = document.createElement("button");
    button.textContent = label;
    button.onclick = act;
    box.append(button);
    return button;
  }
}

export function complain(error) {
  note(error.message, { bad: true });
}
