"""A gallery of every installed modality's packaged default: ``python examples/gallery.py -o demo``.

Writes one folder with the results, a picture of each, and ``index.html`` with seeds, timings and the figures of each
default.  Files carry their recipe, so ``gencore reproduce demo/images.png`` makes one again.
"""

from __future__ import annotations

import argparse
import html
import json
from pathlib import Path

import gencore
from gencore import plugins
from gencore.errors import GencoreError

STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:960px;margin:2rem auto;padding:0 1rem;color:#222}
img,video{image-rendering:pixelated;min-width:320px;max-width:100%;border:1px solid #ddd}
td,th{padding:.2rem .8rem .2rem 0;text-align:left;vertical-align:top}code{background:#f4f4f4;padding:.1rem .3rem}"""


def table(rows: dict[str, object]) -> str:
    """A two-column HTML table."""
    cells = "".join(f"<tr><th>{html.escape(str(k))}</th><td>{html.escape(str(v))}</td></tr>" for k, v in rows.items())
    return f"<table>{cells}</table>"


def section(name: str, folder: Path, seed: int) -> str:
    """Generate from one modality's default and describe what came out."""
    pipe = gencore.load(name)
    out = pipe.modality.showcase(pipe, seed)
    path = folder / f"{name}{pipe.modality.suffix}"
    out.save(path, force=True)
    facts = {"seeds": f"{out.seeds[0]}..{out.seeds[-1]}", "seconds": f"{out.timing['seconds']:.1f}",
             "network calls": int(out.timing["calls"]), "sampler": json.dumps(out.recipe["sampler"]),
             "again": f"gencore reproduce {path.name}"}  # fmt: skip
    figures = pipe.card.get("figures", {})
    title, summary = pipe.card.get("title", name), pipe.card.get("summary", "")
    return (f"<h2>{html.escape(name)}: {html.escape(title)}</h2><p>{html.escape(summary)}</p>"
            f"<p>{pipe.modality.html(path)}</p>{table(facts)}<h3>Measured</h3>{table(figures)}")  # fmt: skip


def robot(name: str, folder: Path, seed: int) -> str:
    """Chunks of actions say little by themselves: what a policy does with them in its environment."""
    from gallery_robot import section as played

    return played(folder, seed)


OWN = {"robot": robot}


def main() -> None:
    parser = argparse.ArgumentParser(description="a gallery of every installed modality")
    parser.add_argument("-o", "--output", type=Path, default=Path("demo"))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.output.mkdir(exist_ok=True)
    sections = []
    for name, plugin in plugins.provided("modality").items():
        if not (plugin.manifest and plugin.manifest.default):
            continue
        try:
            sections.append(OWN.get(name, section)(name, args.output, args.seed))
            print(f"{name}: done")
        except GencoreError as error:
            sections.append(f"<h2>{html.escape(name)}</h2><p>{html.escape(str(error))}</p>")
            print(f"{name}: {error}")
    page = f"<!doctype html><meta charset=utf-8><title>gencore</title><style>{STYLE}</style><h1>gencore</h1>"
    (args.output / "index.html").write_text(page + "".join(sections))
    print(f"{args.output / 'index.html'}")


if __name__ == "__main__":
    main()
