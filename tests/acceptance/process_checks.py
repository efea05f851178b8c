"""Checks of what importing costs, and of the library inside somebody else's program."""

from __future__ import annotations

import json
import re

from harness import World, check

THREADS = """
import threading
import gencore
pipe = gencore.load("images")
jobs = [dict(label=1, seed=1, steps=8), dict(label=2, seed=2, steps=8)]
alone = [pipe.generate(**job).tensor.numpy().tobytes() for job in jobs]
assert alone[0] != alone[1]
faults, start = [], threading.Barrier(2)

def work(which):
    try:
        for _ in range(20):
            start.wait()
            if pipe.generate(**jobs[which]).tensor.numpy().tobytes() != alone[which]:
                faults.append("other bytes")
    except Exception as fault:
        faults.append(repr(fault))
        start.abort()

threads = [threading.Thread(target=work, args=(which,)) for which in (0, 1)]
[t.start() for t in threads], [t.join() for t in threads]
print(faults)
"""

CANCEL = """
import gc, resource
import gencore
pipe = gencore.load("images")

def resident():
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

def leave():
    for step in pipe.stream(label=3, seed=0):
        break

for _ in range(5):
    leave()
before = resident()
for _ in range(50):
    leave()
print(resident() / before)
out = pipe.generate(label=3, seed=0)
print(out.recipe["result"])
"""

FRESH = "import gencore; print(gencore.load('images').generate(label=3, seed=0).recipe['result'])"

UNKNOWN_WORD = """
import gencore
pipe = gencore.load("images")
try:
    pipe.generate(label=3, colour="red")
except gencore.InputError as error:
    print(error.field, "|", error.given, "|", error.accepted)
"""


@check("U01", "import gencore costs nothing")
def cheap_import(world: World) -> str:
    folder = world.fresh("import")
    told = world.run(world.python, "-X", "importtime", "-c", "import gencore", cwd=folder).ok()
    names = {line.rpartition("|")[2].strip().partition(".")[0] for line in told.err.splitlines()}
    assert "gencore" in names
    heavy = sorted(n for n in names if n in ("torch", "numpy", "lightning") or n.startswith("gencore_"))
    assert not heavy, f"imported: {', '.join(heavy)}"
    bare, with_it = (min(world.code(c, cwd=folder).ok().seconds for _ in range(5)) for c in ("pass", "import gencore"))
    return world.within("beyond bare Python", with_it - bare, 0.15)


@check("U02", "gencore list")
def listing(world: World) -> str:
    folder = world.fresh("list")
    runs = [world.gencore("list", cwd=folder).ok() for _ in range(3)]
    told = world.run("sh", "-c", f"'{world.command[0]}' list --json | '{world.python}' -m json.tool", cwd=folder).ok()
    assert not told.err, f"stderr: {told.err}"
    plugins = json.loads(told.out)["plugins"]
    rows = runs[0].out.split("\n\n")[0].splitlines()[1:]
    assert [row.split()[0] for row in rows] == [plugin["name"] for plugin in plugins], "not one row a plug-in"
    assert "images" in {plugin["name"] for plugin in plugins}
    return f"{len(rows)} plug-ins; {world.within('list', min(run.seconds for run in runs), 0.5)}"


@check("U10", "the library is silent")
def silent(world: World) -> str:
    run = world.code("import gencore; gencore.load('images').generate(label=3, seed=0, steps=5)",
                     cwd=world.fresh("silent")).ok()  # fmt: skip
    assert run.out == run.err == "", f"it said {run.out!r} {run.err[:1000]!r}"
    return "nothing on stdout and stderr"


@check("U11", "one pipeline in two threads")
def threads(world: World) -> str:
    run = world.code(THREADS, cwd=world.fresh("threads")).ok()
    assert run.out.strip() == "[]", run.out
    return "2 x 20 results equal their single-thread bytes"


@check("U12", "leaving a stream frees everything")
def cancel(world: World) -> str:
    folder = world.fresh("cancel")
    growth, here = world.code(CANCEL, cwd=folder).ok().out.split()
    assert float(growth) < 1.05, f"memory is {float(growth):.3f} of what it was before 50 repeats"
    assert here == world.code(FRESH, cwd=folder).ok().out.strip(), "a cancelled run changed the next one"
    return f"memory after 50 repeats: {float(growth):.3f} of before"


@check("U14", "an unknown keyword is refused")
def unknown_word(world: World) -> str:
    told = world.code(UNKNOWN_WORD, cwd=world.fresh("keyword")).ok().out.strip()
    assert "'colour'" in told, told
    accepted = told.rpartition("|")[2]
    for word in ("label", "seed", "steps", "sampler", "guidance", "known", "mask"):
        assert re.search(rf"\b{word}\b", accepted), f"{word} is not among: {accepted}"
    return told
