/** The look of the dataset report's page: light and dark, from a phone's width up. */
export const pageStyle = `
:root{--bg:#fbfaf8;--card:#fff;--ink:#1f2328;--soft:#59636e;--line:#dfdcd5;--bar:#b9c6d3;--error:#b3261e;--warning:#9a6700;--info:#3d5a80;--thumb:#efece6}
@media(prefers-color-scheme:dark){:root{--bg:#16181b;--card:#1f2226;--ink:#e8e6e3;--soft:#9aa4ae;--line:#363b41;--bar:#4a5a6b;--error:#ff8a80;--warning:#e3b341;--info:#8db4e2;--thumb:#2a2e33}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
header,main,footer{max-width:68rem;margin:0 auto;padding:1rem}
header{padding-top:2rem}
h1{font-size:1.7rem;margin:0;overflow-wrap:anywhere}
h2{font-size:1.25rem;margin:2.2rem 0 .8rem}
h3{font-size:1.05rem;margin:0 0 .2rem}
p{margin:.3rem 0 .7rem;max-width:46rem}
header p,footer,summary,.id,td:last-child,li span{color:var(--soft)}
footer{font-size:.85rem;padding-bottom:3rem}
.stats{display:flex;flex-wrap:wrap;gap:.6rem;margin-top:1rem}
.stat{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:.5rem 1rem;min-width:6rem}
.stat b{display:block;font-size:1.5rem;line-height:1.2}
.stat span{color:var(--soft);font-size:.85rem}
.stat.error b{color:var(--error)}.stat.warning b{color:var(--warning)}
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
.note>summary{font-weight:500;color:var(--ink)}
.note h3{margin-top:.6rem}
.message{font-weight:500}
.fix{white-space:nowrap;border:1px solid var(--line);border-radius:.3rem;padding:0 .4rem;font-size:.85rem;color:var(--soft)}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(8.2rem,1fr));gap:.8rem;margin:.6rem 0}
.together{background:var(--bg);border-radius:.5rem;padding:.6rem}
figure{margin:0;min-width:0}
.frame{background:var(--thumb);border-radius:.4rem;height:8.2rem;display:flex;align-items:center;justify-content:center;overflow:hidden}
.thumb{max-width:100%;max-height:100%;background-size:contain;background-position:center;background-repeat:no-repeat;flex:1 1 auto;height:100%}
.thumb.none{display:flex;align-items:center;justify-content:center;color:var(--soft);font-size:.8rem}
figcaption{font-size:.8rem;line-height:1.35;margin-top:.25rem;overflow-wrap:anywhere}
figcaption b{display:block;font-weight:600}
figcaption span{color:var(--soft)}
details{margin-top:.5rem}
summary{cursor:pointer}
table{border-collapse:collapse;width:100%;max-width:46rem;font-variant-numeric:tabular-nums}
td{padding:.25rem .8rem .25rem 0;border-bottom:1px solid var(--line);vertical-align:middle;overflow-wrap:anywhere}
td.bar{width:45%}
td.bar i{display:block;height:.7rem;background:var(--bar);border-radius:.2rem;min-width:2px}
.shape{display:block;border:2px solid var(--soft);border-radius:2px}
td.drawn img{width:5.2rem;margin:.15rem;border-radius:.3rem;background:var(--thumb)}
.names{columns:2 18rem;padding-left:1.2rem;font-size:.85rem;overflow-wrap:anywhere}
`;
