// @ts-check
// Rows of tables. On a phone each cell stands on a line of its own, after the title of its column (main.css).

/** @param {string} tag @param {string | Node} content @param {string} [className] */
export function node(tag, content, className = "") {
  const element = document.createElement(tag);
  element.append(content);
  if (className) element.className = className;
  return element;
}

/** One row; each cell says the title of its column. @param {HTMLTableSectionElement} body @param {(string | Node)[]} cells */
export function row(body, cells) {
  const titles = body.closest("table")?.querySelectorAll("thead :is(th, td)") ?? [];
  const line = document.createElement("tr");
  line.append(...cells.map((cell, index) => {
    const element = node("td", cell);
    element.dataset.title = titles[index]?.textContent ?? "";
    return element;
  }));
  return line;
}
