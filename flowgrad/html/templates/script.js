"use strict";
(function () {
  var told = document.getElementById("told");
  function tell(text) { told.textContent = ""; told.textContent = text; }
  function legacy(node) {
    var range = document.createRange(), chosen = getSelection();
    range.selectNodeContents(node);
    chosen.removeAllRanges();
    chosen.addRange(range);
    return document.execCommand("copy");
  }
  document.querySelectorAll("[data-copy]").forEach(function (button) {
    var code = button.parentNode.querySelector("code");
    button.hidden = false;
    button.addEventListener("click", function () {
      function done(worked) {
        button.textContent = worked ? "Copied" : "Press Ctrl+C";
        tell(worked ? "Copied to the clipboard" : "The text is selected; press Ctrl+C");
        setTimeout(function () { button.textContent = "Copy"; }, 2000);
      }
      if (navigator.clipboard) {
        navigator.clipboard.writeText(code.textContent).then(
          function () { done(true); }, function () { done(legacy(code)); });
      } else { done(legacy(code)); }
    });
  });
  function value(row, column, numeric) {
    var text = row.cells[column].textContent.trim();
    if (!numeric) { return text.toLowerCase(); }
    var found = parseFloat(text.replace(/,/g, "").replace("\u2212", "-").replace("\u221e", "Infinity"));
    return isNaN(found) ? null : found;
  }
  function sort(table, column, up, numeric) {
    var body = table.tBodies[0];
    Array.from(body.rows).map(function (row, place) {
      return { row: row, place: place, value: value(row, column, numeric) };
    }).sort(function (a, b) {
      if (a.value === b.value) { return a.place - b.place; }
      if (a.value === null || a.value === "") { return 1; }
      if (b.value === null || b.value === "") { return -1; }
      return (a.value < b.value ? -1 : 1) * (up ? 1 : -1);
    }).forEach(function (one) { body.appendChild(one.row); });
  }
  document.querySelectorAll("table[data-sort]").forEach(function (table) {
    if (table.tBodies[0].rows.length < 2) { return; }
    var heads = Array.from(table.tHead.rows[0].cells);
    heads.forEach(function (head, column) {
      var button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.textContent = "";
      head.appendChild(button);
      button.addEventListener("click", function () {
        var up = head.getAttribute("aria-sort") !== "ascending";
        heads.forEach(function (other) { other.removeAttribute("aria-sort"); });
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        sort(table, column, up, head.classList.contains("n"));
        tell("Sorted by " + button.textContent + (up ? ", ascending" : ", descending"));
      });
    });
  });
  addEventListener("beforeprint", function () {
    document.querySelectorAll("details").forEach(function (one) { one.open = true; });
  });
}());
