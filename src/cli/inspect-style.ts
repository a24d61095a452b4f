/** What the dataset report's page has beside the common look of pages. */
export const inspectStyle = `
.id,li span{color:var(--soft)}
.card{background:var(--card);border:1px solid var(--line);border-left:4px solid var(--info);border-radius:.6rem;padding:1rem 1.1rem;margin:0 0 .9rem}
.card.error{border-left-color:var(--error)}.card.warning{border-left-color:var(--warning)}
.tag{float:right;font-size:.75rem;font-weight:600;text-transform:uppercase;letter-spacing:.05em;color:var(--info)}
.error .tag{color:var(--error)}.warning .tag{color:var(--warning)}
.info>.tag,.info .tag{color:var(--info)}
table.overview{max-width:none;margin-bottom:1.4rem;background:var(--card);border:1px solid var(--line);border-radius:.6rem;border-collapse:separate;border-spacing:0}
.overview td{padding:.4rem .9rem}
.overview tr:last-child td{border-bottom:0}
.overview .tag{float:none;width:6rem;white-space:nowrap}
.overview a{color:var(--ink);text-decoration:none}
.overview a:hover{text-decoration:underline}
.note{margin-top:0}
.note>summary{font-weight:500;color:var(--ink)}
.note h3{margin-top:.6rem}
.message{font-weight:500}
.fix{white-space:nowrap;border:1px solid var(--line);border-radius:.3rem;padding:0 .4rem;font-size:.85rem;color:var(--soft)}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(8.2rem,1fr));gap:.8rem;margin:.6rem 0}
.together{background:var(--bg);border-radius:.5rem;padding:.6rem}
figure{margin:0;min-width:0}
.frame{border:1px solid var(--line);border-radius:.4rem;aspect-ratio:1;display:flex;align-items:center;justify-content:center;overflow:hidden}
.thumb{max-width:100%;max-height:100%;background-size:contain;background-position:center;background-repeat:no-repeat;flex:1 1 auto;height:100%}
.thumb.none{background:var(--thumb);display:flex;align-items:center;justify-content:center;color:var(--soft);font-size:.8rem}
figcaption{font-size:.8rem;line-height:1.35;margin-top:.25rem;overflow-wrap:anywhere}
figcaption b{display:block;font-weight:600}
figcaption span{color:var(--soft)}
td.bar{width:45%}
td.bar i{display:block;height:.7rem;background:var(--bar);border-radius:.2rem;min-width:2px}
.shape{display:block;border:2px solid var(--soft);border-radius:2px}
td.drawn img{width:5.2rem;margin:.15rem;border-radius:.3rem;background:var(--thumb)}
.names{columns:2 18rem;padding-left:1.2rem;font-size:.85rem;overflow-wrap:anywhere}
`;
