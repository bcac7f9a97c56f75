// Opens pages in Chromium at two widths, light and dark: screenshots, axe-core's faults, small text.
// node look.js OUT PAGE.html...; see scripts/look.
"use strict";
const fs = require("fs"), path = require("path"), puppeteer = require("puppeteer-core");
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const SMALLEST = 9;  // pixels

// What the page itself knows: its smallest text, and how much wider it is than the window.
const measure = () => {
  let least = [Infinity, ""];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = texts.nextNode());) {
    const e = node.parentElement, svg = e.closest("svg");
    if (!node.textContent.trim() || e.closest("script, style, title") || !e.getClientRects().length) continue;
    let size = parseFloat(getComputedStyle(e).fontSize);
    if (svg) size *= svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
    if (size < least[0]) least = [size, node.textContent.trim().slice(0, 30)];
  }
  return { least, over: document.documentElement.scrollWidth - innerWidth };
};

(async () => {
  const [out, ...pages] = process.argv.slice(2);
  const executablePath = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((p) => fs.existsSync(p));
  const browser = await puppeteer.launch({ executablePath, headless: true, args: ["--no-sandbox"] });
  let faults = 0;
  for (const file of pages) for (const width of [1280, 390]) for (const scheme of ["light", "dark"]) {
    const page = await browser.newPage(), told = [];
    page.on("console", (m) => { if (m.type() === "error") told.push(m.text()); });
    page.on("pageerror", (e) => told.push(e.message));
    await page.setViewport({ width, height: 900 });
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
    await page.goto("file://" + path.resolve(file));
    await page.evaluate(() => document.querySelectorAll("details").forEach((d) => { d.open = true; }));
    await new Promise((go) => setTimeout(go, 500));
    const name = `${path.basename(path.dirname(path.resolve(file)))}-${path.basename(file, ".html")}-${width}-${scheme}.png`;
    await page.screenshot({ path: path.join(out, name), fullPage: true });
    const { least, over } = await page.evaluate(measure);
    await page.evaluate(axe);
    const found = (await page.evaluate(() => axe.run())).violations.filter((v) => ["serious", "critical"].includes(v.impact));
    const lines = [...told, ...found.map((v) => `${v.id}: ${v.nodes[0].target}`)];
    if (least[0] < SMALLEST) lines.push(`${least[0].toFixed(1)} pixels: ${least[1]}`);
    if (over > 0) lines.push(`${over} pixels too wide`);
    console.log(`${file}, ${width}, ${scheme}: ${lines.length ? lines.join("; ") : `no fault, least text ${least[0].toFixed(1)} pixels`}`);
    faults += lines.length;
    await page.close();
  }
  await browser.close();
  process.exitCode = faults ? 1 : 0;
})();
