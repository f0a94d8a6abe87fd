// Tables sort and filter, charts show tooltips, the theme can be switched. The page is whole without any of it.
(() => {
  "use strict";
  const root = document.documentElement;

  const made = (name, attributes = {}, text = "") => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.textContent = text;
    return element;
  };

  // --- tables

  const order = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
  const keyOf = (cell, numeric) => {
    if (cell.dataset.sort !== undefined) return Number(cell.dataset.sort);
    const text = cell.textContent.trim();
    return numeric ? (text === "" ? NaN : Number(text.replace(/[^\d.eE+-]/g, ""))) : text;
  };

  function sortBy(table, index, descending) {
    const headings = [...table.tHead.rows[0].cells];
    const numeric = headings[index].classList.contains("number");
    const rows = [...table.tBodies[0].rows].map((row, place) => ({ row, place, key: keyOf(row.cells[index], numeric) }));
    const absent = (key) => key === "" || Number.isNaN(key); // last whichever way
    rows.sort((a, b) => {
      if (absent(a.key) || absent(b.key)) return absent(a.key) - absent(b.key) || a.place - b.place;
      const way = typeof a.key === "number" && typeof b.key === "number" ? a.key - b.key : order.compare(a.key, b.key);
      return (descending ? -way : way) || a.place - b.place;
    });
    table.tBodies[0].append(...rows.map(({ row }) => row));
    headings.forEach((heading, i) => {
      if (i === index) heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      else heading.removeAttribute("aria-sort");
    });
  }

  function makeSortable(table) {
    [...table.tHead.rows[0].cells].forEach((heading, index) => {
      const button = made("button", { type: "button" }, heading.textContent);
      heading.textContent = "";
      heading.append(button);
      button.addEventListener("click", () => {
        const now = heading.getAttribute("aria-sort");
        const first = heading.classList.contains("number"); // numbers begin with the greatest
        sortBy(table, index, now ? now === "ascending" : first);
      });
    });
  }

  function makeFilter(holder) {
    const table = holder.querySelector("table");
    const rows = [...table.tBodies[0].rows];
    const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
    const label = made("label", { class: "filter" });
    const input = made("input", { type: "search", placeholder: "Filter rows", autocomplete: "off", spellcheck: "false" });
    label.append(made("span", { class: "hidden" }, `Filter rows of “${table.caption.textContent}”`), input);
    const count = made("span", { class: "count", role: "status" });
    const bar = made("div", { class: "tools" });
    bar.append(count, label);
    holder.querySelector(".table-head").append(bar);
    const apply = () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of rows) {
        const fits = words.every((word) => texts.get(row).includes(word));
        row.hidden = !fits;
        shown += fits;
      }
      count.textContent = words.length ? `${shown} of ${rows.length} rows` : `${rows.length} rows`;
    };
    input.addEventListener("input", apply);
    apply();
  }

  document.querySelectorAll("table[data-sortable]").forEach(makeSortable);
  document.querySelectorAll(".table[data-filter]").forEach(makeFilter);

  // Only what overflows is a stop for the Tab key.
  const markOverflow = () => {
    for (const region of document.querySelectorAll(".scroll")) {
      const overflows = region.scrollWidth > region.clientWidth + 1 || region.scrollHeight > region.clientHeight + 1;
      if (overflows) region.setAttribute("tabindex", "0");
      else region.removeAttribute("tabindex");
    }
  };
  markOverflow();
  addEventListener("resize", markOverflow);
  document.addEventListener("toggle", markOverflow, true);

  // --- tooltips: the charts' <title>s at once, in our own dress

  const tip = document.getElementById("tip");
  document.querySelectorAll(".plot title").forEach((title) => {
    title.parentNode.dataset.tip = title.textContent;
    title.remove();
  });
  const place = (event) => {
    const { offsetWidth: width, offsetHeight: height } = tip;
    const left = Math.min(Math.max(8, event.clientX - width / 2), innerWidth - width - 8);
    const above = event.clientY - height - 14;
    tip.style.transform = `translate(${Math.round(left)}px, ${Math.round(above < 8 ? event.clientY + 20 : above)}px)`;
  };
  const show = (event) => {
    const mark = event.target.closest?.("[data-tip]");
    tip.hidden = !mark;
    if (mark) {
      tip.textContent = mark.dataset.tip;
      place(event);
    }
  };
  document.addEventListener("pointermove", show);
  document.addEventListener("pointerdown", show); // a finger does not hover
  addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });

  // --- contents: where am I; open on wide screens, folded on narrow ones

  const contents = document.querySelector(".contents details");
  if (contents) {
    const wide = matchMedia("(min-width: 70rem)");
    const fold = () => { contents.open = wide.matches; };
    fold();
    wide.addEventListener("change", fold);
    const links = new Map([...contents.querySelectorAll("a")].map((link) => [link.hash.slice(1), link]));
    const seen = new Set();
    const watch = new IntersectionObserver((entries) => {
      for (const entry of entries) entry.isIntersecting ? seen.add(entry.target.id) : seen.delete(entry.target.id);
      const current = [...links.keys()].find((id) => seen.has(id));
      for (const [id, link] of links) id === current ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current");
    }, { rootMargin: "-15% 0px -60% 0px" });
    document.querySelectorAll("main > section").forEach((section) => watch.observe(section));
  }

  // --- theme: as the system, unless the button was used

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme || (dark.matches ? "dark" : "light")) === "dark";
  const button = made("button", { type: "button", class: "theme" });
  const say = () => { button.textContent = isDark() ? "Light" : "Dark"; button.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`); };
  button.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; say(); });
  dark.addEventListener("change", say);
  say();
  document.querySelector(".masthead").append(button);

  // Paper shows what is folded away, too.
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details.fold:not([open])")];
    for (const details of opened) details.open = true;
  });
  addEventListener("afterprint", () => { for (const details of opened) details.open = false; });
})();
