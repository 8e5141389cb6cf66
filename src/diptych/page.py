"""A page that opens anywhere: one HTML file, no network, no script; light and dark, on paper and on a phone, in English or Chinese."""

from html import escape
from pathlib import Path

from diptych.messages import language


def page(title: str, body: str, style: str = "") -> str:
    """The whole page as text.

    Args:
        body: HTML, in which every text that came from a user is escaped already.
        style: CSS beside the page's own.
    """
    tongue = "zh-CN" if language() == "zh" else "en"
    return (
        f'<!DOCTYPE html>\n<html lang="{tongue}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">"
        f"<title>{escape(title)}</title><style>{STYLE}{style}</style></head>\n"
        f'<body><main><p class="brand">Diptych</p><h1>{escape(title)}</h1>\n{body}</main></body></html>\n'
    )


def write_page(path: Path, html: str) -> Path:
    """Write it, whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    try:
        # Half of a character, which JSON and damaged files can hold, is no text that a page can show.
        part.write_bytes(html.encode("utf-8", "replace"))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


STYLE = """
:root{--paper:#fbfaf7;--ink:#22262b;--soft:#6b727b;--line:#e2dfd8;--main:#2f6f8f;--wash:#eef3f5;color-scheme:light dark}
@media (prefers-color-scheme:dark){:root{--paper:#16181b;--ink:#e4e2dd;--soft:#9aa1a9;--line:#2c3036;--main:#7db7d3;--wash:#1d2429}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.6 Georgia,"Noto Serif CJK SC","Songti SC",SimSun,serif}
main{max-width:46rem;margin:0 auto;padding:3rem 1.2rem 6rem}
.brand{letter-spacing:.35em;text-transform:uppercase;font-size:.7rem;color:var(--main);margin:0}
h1{font-weight:400;font-size:2rem;line-height:1.25;margin:.4rem 0 1.6rem;overflow-wrap:anywhere}
h2{font-weight:600;font-size:.85rem;letter-spacing:.06em;color:var(--soft);margin:2.6rem 0 1rem}
h2{border-bottom:1px solid var(--line);padding-bottom:.4rem}
.verdict{font-size:1.35rem;line-height:1.45;margin:0 0 .6rem}
.caveat,.note{color:var(--soft);font-size:.9rem;margin:.4rem 0}
.wide{overflow-x:auto}figure{margin:0}figure svg{max-width:100%;height:auto}
table{border-collapse:collapse;width:100%;font:14px/1.5 system-ui,"Noto Sans CJK SC","PingFang SC","Microsoft YaHei",sans-serif}
th,td{text-align:left;padding:.45rem .8rem .45rem 0;border-bottom:1px solid var(--line);vertical-align:top;font-weight:400}
td span{color:var(--soft);white-space:nowrap}thead th{color:var(--soft);font-size:.8rem}
tr.main th,tr.main td{background:var(--wash)}tr.main th{color:var(--main);font-weight:600;padding-left:.5rem}
tbody th{white-space:nowrap;padding-left:.5rem}table.text td:first-child{width:60%;overflow-wrap:anywhere}
.word{display:inline-block;margin:0 .6rem .2rem 0}.word i{color:var(--soft);font-style:normal;font-size:.8rem}
blockquote{margin:0 0 1rem;padding:.2rem 0 .2rem 1rem;border-left:2px solid var(--main);white-space:pre-wrap;overflow-wrap:anywhere}
.prompt{margin:1rem 0 .3rem}.bars td{border:0;padding:.1rem .8rem .1rem 0}.bars td:first-child{width:9rem}
.bar{width:60%}.bar span{display:block;height:.7rem;margin-top:.35rem;background:var(--main);border-radius:2px;min-width:1px}
.lineage{list-style:none;display:flex;flex-wrap:wrap;gap:.6rem;padding:0}
.lineage li{flex:1 1 8rem;border:1px solid var(--line);border-top:2px solid var(--main);padding:.5rem .7rem;overflow-wrap:anywhere}
.lineage b{display:block;font-size:.75rem;color:var(--soft);font-weight:600}.lineage span{font-size:.9rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.3rem 1.2rem}dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
pre{background:var(--wash);padding:.8rem 1rem;overflow-x:auto;white-space:pre-wrap;overflow-wrap:anywhere}
pre{font:13px/1.5 ui-monospace,Menlo,Consolas,monospace}
ul{padding-left:1.1rem}@media print{body{background:#fff}main{padding-top:0}}
"""
