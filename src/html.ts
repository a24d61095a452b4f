/** The frame and the look of Gesso's pages: one file that needs nothing else, light and dark, from a phone's width up. */

export function escapeHtml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}

/**
 * A whole page.
 *
 * @param page.title as text
 * @param page.style what the page has beside the common look
 * @param page.body as HTML: a header, a main part and a footer
 */
export function renderPage({ title, style, body }: Readonly<Record<"title" | "style" | "body", string>>): string {
  return [
    `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>${escapeHtml(title)}</title>`,
    `<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="color-scheme" content="light dark">`,
    `<style>${commonStyle}${style}</style></head><body>`,
    body,
    "</body></html>\n",
  ].join("\n");
}

/** @param parts as HTML */
export function section(title: string, parts: readonly string[]): string {
  return `<section><h2>${escapeHtml(title)}</h2>${parts.join("\n")}</section>`;
}

/** A number that the page begins with, and what it is. @param className colours it: "error" or "warning" */
export function stat(value: string, label: string, className = ""): string {
  return `<div class="stat ${className}"><b>${escapeHtml(value)}</b><span>${escapeHtml(label)}</span></div>`;
}

const commonStyle = `
:root{--bg:#fbfaf8;--card:#fff;--ink:#1f2328;--soft:#59636e;--line:#dfdcd5;--bar:#b9c6d3;--error:#b3261e;--warning:#9a6700;--info:#3d5a80;--thumb:#efece6}
@media(prefers-color-scheme:dark){:root{--bg:#16181b;--card:#1f2226;--ink:#e8e6e3;--soft:#9aa4ae;--line:#363b41;--bar:#4a5a6b;--error:#ff8a80;--warning:#e3b341;--info:#8db4e2;--thumb:#2a2e33}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
header,main,footer{max-width:68rem;margin:0 auto;padding:0 1rem}
header{padding-top:2rem}
h1{font-size:1.7rem;margin:0;overflow-wrap:anywhere}
h2{font-size:1.25rem;margin:2.2rem 0 .8rem}
h3{font-size:1.05rem;margin:0 0 .2rem}
p{margin:.3rem 0 .7rem;max-width:46rem}
header p,footer,summary,td:last-child{color:var(--soft)}
footer{font-size:.85rem;padding-top:2rem;padding-bottom:3rem}
.stats{display:flex;flex-wrap:wrap;gap:.6rem;margin-top:1rem}
.stat{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:.5rem 1rem;min-width:6rem}
.stat b{display:block;font-size:1.5rem;line-height:1.2}
.stat span{color:var(--soft);font-size:.85rem}
.stat.error b{color:var(--error)}.stat.warning b{color:var(--warning)}
details{margin-top:.5rem}
summary{cursor:pointer}
table{border-collapse:collapse;width:100%;max-width:46rem;font-variant-numeric:tabular-nums}
td,th{padding:.25rem .8rem .25rem 0;border-bottom:1px solid var(--line);vertical-align:middle;text-align:left;overflow-wrap:anywhere}
th{font-weight:600}
`;
