"""The style of the page: light and dark, from 400 pixels up, and on paper."""

import matplotlib
from matplotlib.colors import to_hex

from raysl.reports.figures import PALETTE

COLOUR_MAP = matplotlib.colormaps["viridis"]
NUM_STEPS = 16  # of the colour map
DARKEST = 0.3  # of the colour map on a dark page
DARK_PALETTE = (
    "#5aa4ea", "#ffb733", "#f0604a", "#a9b8b6", "#b77be0", "#c98d7b", "#f58033", "#cbbf86", "#9799a8", "#92dadd",
)  # fmt: skip


def _variables(palette: tuple[str, ...], darkest: float, **others: str) -> str:
    shades = [to_hex(COLOUR_MAP(darkest + (1 - darkest) * step / (NUM_STEPS - 1))) for step in range(NUM_STEPS)]
    names = {f"c{place}": colour for place, colour in enumerate(palette)}
    names |= {f"v{place}": colour for place, colour in enumerate(shades)} | others
    return ";".join(f"--{name}:{value}" for name, value in names.items())


_LIGHT = _variables(
    PALETTE, 0.0, ink="#222222", grey="#767676", paper="#ffffff", soft="#f3f5f7", line="#d8dde2", mark="#e4f0fc",
    link="#0b5cad", heat="#2f7fd0",
)  # fmt: skip
_DARK = _variables(
    DARK_PALETTE, DARKEST, ink="#e6e6e6", grey="#9a9a9a", paper="#16181b", soft="#202327", line="#3a3f45",
    mark="#1d3247", link="#7ab7f5", heat="#3f90da",
)  # fmt: skip

CSS = f"""
:root{{color-scheme:light dark;{_LIGHT}}}
@media (prefers-color-scheme:dark){{:root{{{_DARK}}}}}
*{{box-sizing:border-box}}
body{{margin:0 auto;max-width:1240px;padding:16px;background:var(--paper);color:var(--ink);
font:15px/1.45 system-ui,sans-serif;overflow-wrap:anywhere}}
h1{{font-size:1.5em;margin:.2em 0}} h2{{font-size:1.25em;margin:2em 0 .3em;border-top:2px solid var(--line);
padding-top:.7em}}
h3{{font-size:1.05em;margin:1.4em 0 .3em}} p{{margin:.4em 0;max-width:80em}}
a{{color:var(--link)}}
code{{font:.87em ui-monospace,monospace;background:var(--soft);padding:0 .25em;border-radius:3px}}
pre{{background:var(--soft);padding:.6em;overflow-x:auto;white-space:pre-wrap;margin:.4em 0}} pre code{{padding:0}}
dl{{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,170px),1fr));gap:.35em 1.4em;margin:.6em 0}}
dt{{color:var(--grey);font-size:.85em}} dd{{margin:0}}
.wide{{overflow-x:auto;margin:.5em 0;max-width:100%}}
table{{border-collapse:collapse;font-size:.92em;font-variant-numeric:tabular-nums}}
th,td{{text-align:right;padding:.28em .6em;border-bottom:1px solid var(--line);vertical-align:top;overflow-wrap:normal}}
th{{font-weight:600}} th:first-child,.words{{text-align:left}} tbody th{{font-weight:400}}
tbody th{{position:sticky;left:0;background:var(--paper)}}
td{{white-space:nowrap}} td.words{{white-space:normal;min-width:14em}}
tr.selected th,tr.selected td{{background:var(--mark);font-weight:600}}
small{{color:var(--grey);font-weight:400;display:block;font-size:.85em}}
.figures{{display:flex;flex-wrap:wrap;gap:18px 26px;align-items:flex-start;margin:.6em 0}}
figure{{margin:0;width:355px;max-width:100%}} figure svg{{display:block;max-width:100%;height:auto;overflow:visible}}
figcaption{{font-size:.85em;color:var(--grey)}} figcaption b{{color:var(--ink);display:block;font-size:1.1em}}
svg text{{fill:var(--ink);font-family:'DejaVu Sans',Verdana,sans-serif}}
 svg *{{stroke-linejoin:round;stroke-linecap:butt}}
details{{margin:.5em 0}} summary{{cursor:pointer;font-weight:600;padding:.25em 0}}
.heat td{{text-align:center;min-width:2.2em;background:color-mix(in srgb,var(--heat) calc(var(--v)*1%),transparent)}}
.heat td,.heat th{{padding:.2em .35em}} .bad{{color:var(--c2)}}
nav ul{{columns:300px;column-gap:2.5em;padding-left:1.2em;margin:.4em 0}}
footer{{margin-top:3em;border-top:2px solid var(--line);color:var(--grey);font-size:.9em}}
@media (max-width:600px){{body{{padding:10px;font-size:14px}} dl{{gap:.3em .8em}}
th,td{{padding:.25em .4em}} tbody th{{min-width:7em;max-width:40vw}}}}
@media print{{details::details-content{{content-visibility:visible}} .wide{{overflow:visible}}}}
"""
