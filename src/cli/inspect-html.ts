/** The dataset report as one page that needs nothing else: thumbnails, findings, copies side by side, buckets, captions. */
import {
  type DatasetReport,
  type InspectionFinding,
  makeThumbnail,
  type PictureReport,
  type TriggerDrawing,
} from "../index.ts";
import { escapeHtml, renderPage, section, stat } from "../html.ts";
import { countOf } from "../words.ts";
import { drawingLine, facesLine } from "./inspect-page.ts";
import { inspectStyle } from "./inspect-style.ts";

/** Thumbnails on a page; a page of thousands would be too large for a phone. Pictures of findings come first. */
const MAX_THUMBNAILS = 400;
const THUMB_PX = 168;
/** Pictures shown of one finding before the rest is folded away. */
const SHOWN = 7;

const severityNames = { error: "Error", warning: "Warning", info: "Note" } as const;

/** The page as HTML. Pictures are read once more, for their thumbnails. */
export async function renderReportPage(report: DatasetReport): Promise<string> {
  const thumbs = await makeThumbnails(report);
  const show = createPictureView(report, thumbs);
  const body = [
    header(report),
    `<main>`,
    section(
      "Findings",
      report.findings.length === 0
        ? ["<p>Nothing was found.</p>"]
        : [overview(report), ...report.findings.map((finding, i) => findingCard(finding, `f${i}`, show))],
    ),
    section("Buckets", [bucketTable(report)]),
    section("Variety", [variety(report, show)]),
    section("Captions", [captions(report)]),
    section("Proposed hold-out", [holdOut(report, show)]),
    section("All pictures", [gallery(report, show)]),
    `</main>`,
    `<footer>Thresholds marked “heuristic” are Gesso's own choice, not published figures. Made by gesso inspect.</footer>`,
  ].join("\n");
  const images = [...thumbs].map(
    ([name, bytes]) =>
      `.${classOf(report, name)}{background-image:url(data:image/webp;base64,${Buffer.from(bytes).toString("base64")})}`,
  );
  return renderPage({
    title: `Dataset report: ${baseName(report.folder)}`,
    style: `${inspectStyle}\n${images.join("\n")}`,
    body,
  });
}

/** Draws one picture: its thumbnail with a line below. */
type PictureView = (name: string, text: string) => string;

async function makeThumbnails({ findings, pictures, holdOut }: DatasetReport): Promise<ReadonlyMap<string, Uint8Array>> {
  const byName = new Map(pictures.map((picture) => [picture.name, picture]));
  const named = findings.flatMap((finding) => [
    ...finding.pictures.slice(0, SHOWN).map(({ name }) => name),
    ...finding.groups.slice(0, SHOWN).flat(),
  ]);
  const wanted = [...new Set([...named, ...holdOut, ...pictures.map(({ name }) => name)])].slice(0, MAX_THUMBNAILS);
  const thumbs = new Map<string, Uint8Array>();
  const queue = wanted.values();
  const work = async (): Promise<void> => {
    for (const name of queue) {
      const picture = byName.get(name);
      const bytes = picture && (await makeThumbnail(picture.path, THUMB_PX));
      if (bytes) thumbs.set(name, bytes);
    }
  };
  await Promise.all([work(), work(), work()]);
  return thumbs;
}

/** Each thumbnail stands once, in the style sheet, however often it is shown. */
function classOf({ pictures }: DatasetReport, name: string): string {
  return `p${pictures.findIndex((picture) => picture.name === name)}`;
}

function createPictureView(report: DatasetReport, thumbs: ReadonlyMap<string, Uint8Array>): PictureView {
  const byName = new Map(report.pictures.map((picture, i) => [picture.name, { picture, className: `p${i}` }]));
  return (name, text) => {
    const found = byName.get(name);
    if (!found) return "";
    const { widthPx, heightPx } = found.picture;
    const shape = `aspect-ratio:${widthPx}/${heightPx}`;
    const image = thumbs.has(name)
      ? `<div class="thumb ${found.className}" style="${shape}" role="img" aria-label="${escapeHtml(name)}"></div>`
      : `<div class="thumb none" style="${shape}">no thumbnail</div>`;
    return `<figure><div class="frame">${image}</div><figcaption><b>${escapeHtml(name)}</b>${text === "" ? "" : `<span>${escapeHtml(text)}</span>`}</figcaption></figure>`;
  };
}

function header({ folder, pictures, target, counts, diversity }: DatasetReport): string {
  const purpose = `For a ${target.type} on ${escapeHtml(target.base)} at ${target.resolutionPx} px, batch ${target.batch}${target.trigger === undefined ? "" : `, trigger word “${escapeHtml(target.trigger)}”`}.`;
  return [
    `<header><h1>${escapeHtml(baseName(folder))}</h1><p>${purpose}</p><div class="stats">`,
    stat(String(counts.error), counts.error === 1 ? "error" : "errors", counts.error > 0 ? "error" : ""),
    stat(String(counts.warning), counts.warning === 1 ? "warning" : "warnings", counts.warning > 0 ? "warning" : ""),
    stat(String(counts.info), counts.info === 1 ? "note" : "notes"),
    stat(String(pictures.length), pictures.length === 1 ? "picture" : "pictures"),
    stat(diversity.toFixed(2), "variety, of 1"),
    `</div></header>`,
  ].join("");
}

/** All findings in a line each, so that what matters most is seen before any picture. */
function overview({ findings }: DatasetReport): string {
  const rows = findings.map(
    ({ severity, message }, i) =>
      `<tr class="${severity}"><td class="tag">${severityNames[severity]}</td><td><a href="#f${i}">${escapeHtml(message)}</a></td></tr>`,
  );
  return `<table class="overview">${rows.join("")}</table>`;
}

/** Notes are folded. */
function findingCard(finding: InspectionFinding, id: string, show: PictureView): string {
  const { severity, title, message } = finding;
  const tag = `<div class="tag">${severityNames[severity]}</div>`;
  const heading = `<h3>${escapeHtml(title.charAt(0).toUpperCase() + title.slice(1))}</h3>`;
  if (severity === "info") {
    const summary = `<summary>${escapeHtml(message)}</summary>`;
    return `<article class="card info" id="${id}">${tag}<details class="note">${summary}${heading}${cardBody(finding, show)}</details></article>`;
  }
  const said = `<p class="message">${escapeHtml(message)}</p>`;
  return `<article class="card ${severity}" id="${id}">${tag}${heading}${said}${cardBody(finding, show)}</article>`;
}

function cardBody(finding: InspectionFinding, show: PictureView): string {
  const { id, why, mend, fix, thresholds } = finding;
  const held = thresholds.map(
    ({ about, value, source }) => `<li>${escapeHtml(value)} <span>(${escapeHtml(about)}; ${escapeHtml(source)})</span></li>`,
  );
  const safe = fix === undefined ? "" : ` <span class="fix">--fix ${escapeHtml(fix)}</span>`;
  return [
    `<p><b>Mend.</b> ${escapeHtml(mend)}${safe}</p>`,
    finding.groups.length > 0 ? groups(finding, show) : pictureGrid(finding, show),
    `<details><summary>Why it matters</summary><p>${escapeHtml(why)}</p>${held.length > 0 ? `<p>Held against:</p><ul>${held.join("")}</ul>` : ""}<p class="id">${escapeHtml(id)}</p></details>`,
  ].join("");
}

function pictureGrid({ pictures }: InspectionFinding, show: PictureView): string {
  if (pictures.length === 0) return "";
  const first = pictures.slice(0, SHOWN).map(({ name, measured }) => show(name, measured));
  const rest = pictures.slice(SHOWN).map(({ name, measured }) => `<li><b>${escapeHtml(name)}</b> ${escapeHtml(measured)}</li>`);
  const more =
    rest.length === 0 ? "" : `<details><summary>${rest.length} more</summary><ul class="names">${rest.join("")}</ul></details>`;
  return `<div class="grid">${first.join("")}</div>${more}`;
}

/** Pictures that belong together, side by side. */
function groups(finding: InspectionFinding, show: PictureView): string {
  const measured = new Map(finding.pictures.map((hit) => [hit.name, hit.measured.replace(/^group \d+, /, "")]));
  const rows = finding.groups.map(
    (group) => `<div class="grid together">${group.map((name) => show(name, measured.get(name) ?? "")).join("")}</div>`,
  );
  const more =
    rows.length > SHOWN
      ? `<details><summary>${rows.length - SHOWN} more groups</summary>${rows.slice(SHOWN).join("")}</details>`
      : "";
  return rows.slice(0, SHOWN).join("") + more;
}

function bucketTable({ buckets, target }: DatasetReport): string {
  const most = Math.max(...buckets.map(({ exposures }) => exposures));
  const rows = buckets.map(({ widthPx, heightPx, pictures, exposures }) => {
    const long = 30;
    const shape = `width:${(long * Math.min(1, widthPx / heightPx)).toFixed(0)}px;height:${(long * Math.min(1, heightPx / widthPx)).toFixed(0)}px`;
    const note = exposures < target.batch ? "fewer than a batch" : exposures === pictures ? "" : `${exposures} in an epoch`;
    return `<tr><td><i class="shape" style="${shape}"></i></td><td>${widthPx} x ${heightPx}</td><td class="bar"><i style="width:${((100 * exposures) / most).toFixed(1)}%"></i></td><td>${countOf(pictures, "picture")}</td><td>${note}</td></tr>`;
  });
  return `<table>${rows.join("")}</table>`;
}

function variety({ clusters, pictures, diversity, target, faces }: DatasetReport, show: PictureView): string {
  const worth = Math.max(1, Math.round(diversity * pictures.length));
  const large = clusters
    .map((size, number) => ({ size, number }))
    .filter(({ size }) => size > 1)
    .slice(0, 6);
  const rows = large.map(({ size, number }) => {
    const members = pictures.filter(({ cluster }) => cluster === number).slice(0, 6);
    return `<h3>${countOf(size, "picture")} alike</h3><div class="grid">${members.map(({ name }) => show(name, "")).join("")}</div>`;
  });
  const people = target.type === "character" ? `<p>${escapeHtml(facesLine(faces))}</p>` : "";
  const all = `${countOf(pictures.length, "picture")} in ${countOf(clusters.length, "cluster")} by colour and layout; as varied as ${worth} unrelated ones.`;
  return `<p>${all}</p>${people}${rows.join("")}`;
}

function captions({ tags, pictures, target, trigger }: DatasetReport): string {
  const tokens = pictures.flatMap((picture) => picture.tokens ?? []).sort((a, b) => a - b);
  const middle = tokens[tokens.length >> 1];
  const counted =
    middle === undefined
      ? `Tokens are not counted: the tokenizer of ${target.base} is not here.`
      : `Tokens (${target.tokenizer ?? ""}): ${tokens[0]} to ${tokens.at(-1)}, half of the captions up to ${middle}.`;
  const drawn = trigger?.baseDraws ? drawings(trigger.word, trigger.baseDraws) : "";
  const word = trigger?.tokenIds
    ? `<p>Trigger word “${escapeHtml(trigger.word)}”: ${countOf(trigger.tokenIds.length, "token")}, ids ${trigger.tokenIds.join(", ")}.</p>`
    : "";
  const rows = tags
    .slice(0, 24)
    .map(
      ({ tag, share }) =>
        `<tr><td>${escapeHtml(tag)}</td><td class="bar"><i style="width:${(100 * share).toFixed(1)}%"></i></td><td>${Math.round(100 * share)} %</td></tr>`,
    );
  const commonest = rows.length === 0 ? "" : `<h3>Commonest</h3><table>${rows.join("")}</table>`;
  return `<p>${escapeHtml(counted)}</p>${word}${drawn}${commonest}`;
}

/** What the base drew for the word and for nothing, one seed under the other. */
function drawings(word: string, drawing: TriggerDrawing): string {
  const row = (label: string, pictures: readonly string[]): string => {
    const images = pictures.map((data) => `<img alt="" src="data:image/webp;base64,${data}">`).join("");
    return `<tr><td>${escapeHtml(label)}</td><td class="drawn">${images}</td></tr>`;
  };
  const told = `<p>${escapeHtml(drawingLine(word, drawing))}</p>`;
  if (drawing.withWord.length === 0) return told;
  return `${told}<table>${row(`“${word}”`, drawing.withWord)}${row("an empty prompt", drawing.without)}</table>`;
}

function holdOut({ holdOut: names }: DatasetReport, show: PictureView): string {
  if (names.length === 0) return "<p>Too few pictures to keep any out of training.</p>";
  return `<p>Chosen from every cluster, none with a copy in the rest: what they show is measured, not remembered.</p><div class="grid">${names.map((name) => show(name, "")).join("")}</div>`;
}

function gallery({ pictures }: DatasetReport, show: PictureView): string {
  const shown = pictures.slice(0, MAX_THUMBNAILS);
  const rest = pictures.length > shown.length ? `<p>${pictures.length - shown.length} more are not shown.</p>` : "";
  const text = ({ widthPx, heightPx, bucket, findings }: PictureReport): string =>
    `${widthPx} x ${heightPx} → ${bucket.widthPx} x ${bucket.heightPx}${findings.length > 0 ? `; ${findings.join(", ")}` : ""}`;
  return `<details><summary>Show ${shown.length}</summary><div class="grid">${shown.map((picture) => show(picture.name, text(picture))).join("")}</div></details>${rest}`;
}

function baseName(folder: string): string {
  return folder.split(/[\\/]/).filter(Boolean).at(-1) ?? folder;
}
