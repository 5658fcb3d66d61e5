// Opens pages in Chromium, from files, and holds them to what a page promises:
// node check.mjs MODULES SCREENSHOTS PAGE.html ...
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { basename, dirname } from "node:path";
import { pathToFileURL } from "node:url";

const [modules, screenshots, ...pages] = process.argv.slice(2);
const require = createRequire(`${modules}/`);
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const SIZES = [{ width: 1280, height: 800 }, { width: 360, height: 740 }];
const SCHEMES = ["light", "dark"];
const MOST_SECONDS = 1;
const complaints = [];

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update"],
});

for (const page of pages) {
  for (const viewport of SIZES) {
    for (const colorScheme of SCHEMES) {
      await examine(page, viewport, colorScheme);
    }
  }
}
await browser.close();
for (const one of complaints) console.error(one);
console.log(`${pages.length} pages, ${SIZES.length} widths, ${SCHEMES.length} schemes: ${complaints.length} complaints`);
process.exit(complaints.length ? 1 : 0);

async function examine(file, viewport, colorScheme) {
  const name = `${basename(dirname(file))}-${basename(file, ".html")} ${viewport.width} ${colorScheme}`;
  const complain = (text) => complaints.push(`${name}: ${text}`);
  // The page's own policy forbids other scripts; axe is let in beside it.
  const context = await browser.newContext({ viewport, colorScheme, bypassCSP: true });
  const tab = await context.newPage();
  const url = pathToFileURL(file).href;
  tab.on("console", (told) => { if (["error", "warning"].includes(told.type())) complain(`console: ${told.text()}`); });
  tab.on("pageerror", (error) => complain(`error: ${error.message}`));
  tab.on("dialog", (dialog) => { complain(`dialog: ${dialog.message()}`); dialog.dismiss(); });
  tab.on("request", (request) => {
    if (request.url() !== url && !request.url().startsWith("data:")) complain(`request: ${request.url()}`);
  });
  let seconds = Infinity;
  for (let tries = 0; tries < 3 && seconds > MOST_SECONDS; tries += 1) {  // the machine may be busy
    await tab.goto(url, { waitUntil: "load" });
    seconds = await tab.evaluate(() => performance.getEntriesByType("navigation")[0].loadEventStart / 1000);
  }
  if (seconds > MOST_SECONDS) complain(`opened in ${seconds} s`);
  const wide = await tab.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  if (wide > 0) complain(`the page scrolls sideways, by ${wide} px`);
  if (viewport.width === 1280) await firstScreen(tab, viewport, complain);
  if (await tab.evaluate(() => "hit" in window)) complain("a text of the report ran as a script");
  await tab.screenshot({ path: `${screenshots}/${name.replaceAll(" ", "-")}.png` });
  await tab.evaluate(() => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
  const opened = await tab.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  if (opened > 0) complain(`with all opened the page scrolls sideways, by ${opened} px`);
  await tab.evaluate(axe);
  const { violations } = await tab.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  for (const one of violations.filter((v) => ["serious", "critical"].includes(v.impact))) {
    complain(`axe: ${one.id}: ${one.help}: ${one.nodes.slice(0, 3).map((node) => node.html.slice(0, 160)).join(" | ")}`);
  }
  if (viewport.width === 1280 && colorScheme === "light") {
    await sorting(tab, complain);
    await copying(tab, complain);
    await skipping(tab, complain);
  }
  await context.close();
}

async function firstScreen(tab, viewport, complain) {
  const parts = { verdict: "h1", cause: ".steps .cause", change: ".steps .change" };
  for (const [what, selector] of Object.entries(parts)) {
    const all = tab.locator(selector);
    if (what !== "verdict" && !(await all.count())) continue;
    const box = await all.first().boundingBox();
    if (!box || box.y + box.height > viewport.height) complain(`${what} is not on the first screen`);
  }
}

async function sorting(tab, complain) {
  const tables = tab.locator("table[data-sort]:has(th.n button)");
  if (!(await tables.count())) return;
  const head = tables.first().locator("th.n:has(button)").first();
  for (const [way, sign] of [["ascending", 1], ["descending", -1]]) {
    await head.locator("button").focus();
    await tab.keyboard.press("Enter");
    if (await head.getAttribute("aria-sort") !== way) complain(`sorting: aria-sort is not ${way}`);
    const values = await head.evaluate((cell) => Array.from(cell.closest("table").tBodies[0].rows)
      .map((row) => row.cells[cell.cellIndex].textContent.trim())
      .filter((text) => text && text !== "not known")
      .map((text) => Number(text.replaceAll(",", "").replace("\u2212", "-"))));
    const wrong = values.some((value, place) => place && (value - values[place - 1]) * sign < 0);
    if (wrong) complain(`sorting: ${way} gives ${values.join(" ")}`);
  }
}

async function copying(tab, complain) {
  const button = tab.locator("button[data-copy]:visible").first();
  if (!(await button.count())) return;
  const wanted = await button.evaluate((one) => one.parentNode.querySelector("code").textContent);
  await tab.evaluate(() => {
    window.copied = null;
    navigator.clipboard.writeText = async (text) => { window.copied = text; };
  });
  await button.focus();
  await tab.keyboard.press("Enter");
  await tab.waitForFunction(() => document.getElementById("told").textContent, null, { timeout: 2000 });
  if (await tab.evaluate(() => window.copied) !== wanted) complain("copying: the clipboard has another text");
}

async function skipping(tab, complain) {
  await tab.evaluate(() => { document.activeElement.blur(); scrollTo(0, 0); });
  await tab.reload();
  await tab.keyboard.press("Tab");
  if (await tab.evaluate(() => document.activeElement.className) !== "skip") complain("the first stop is not the skip link");
}
