"""From finished runs to the packaged models: write the weights in half precision, measure, and fill in the card.

modalities/text/recipes/fetch_kjv.sh DATA
gencore train text --preset kjv --data DATA/kjv.txt -o RUNS/kjv
python modalities/text/recipes/package_kjv.py kjv RUNS/kjv
gencore train text --preset kjv-ar --data DATA/kjv.txt -o RUNS/kjv-ar
python modalities/text/recipes/package_kjv.py kjv-ar RUNS/kjv-ar
gencore train text --preset kjv-nce --data DATA/kjv.txt -o RUNS/kjv-nce     (needs the packaged kjv)
python modalities/text/recipes/package_kjv.py kjv-nce RUNS/kjv-nce
python modalities/text/recipes/package_kjv.py figures DATA/kjv.txt          (measures all three, at most 10 minutes)
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

import torch

from gencore.cli.progress import progress
from gencore.loading import load_folder
from gencore.media.files import atomic_write
from gencore.models import CONFIG, find_model, packaged_default
from gencore.training.callbacks import METRICS
from gencore_text.data import open_text
from gencore_text.evaluation import evaluate

HERE = Path(__file__).parent
CARDS = HERE / "kjv-card.json"


def package(name: str, run: Path) -> Path:
    """Write the model of `run` as the packaged model `name`, and keep the log of the run beside the recipes."""
    pipe = load_folder(find_model("text", run)[0])
    training = {**pipe.card.get("training", {}), "preset": name}
    pipe.card = {**json.loads(CARDS.read_text())[name], "training": training}
    target = packaged_default("text").with_name(name)
    target.parent.mkdir(exist_ok=True)
    pipe.save_pretrained(target, dtype=torch.float16, force=True)
    if (run / METRICS).exists():
        shutil.copyfile(run / METRICS, HERE / f"{name}-log.csv")
    return target


def measure(corpus: Path, n: int, seed: int) -> dict[str, object]:
    """The figures of the packaged models; written into the card of the first."""
    folder = packaged_default("text")
    pipe = load_folder(folder)
    data, train = (open_text(corpus, pipe.tokenizer, held_out=held) for held in (True, False))
    with progress("figures") as report:
        figures = evaluate(pipe, data, n=n, seed=seed, train=train, progress=report)
    config = json.loads((folder / CONFIG).read_text())
    config["card"]["figures"] = {"test data": data.describe(), **figures}
    with atomic_write(folder / CONFIG, "w", force=True) as file:
        file.write(json.dumps(config, indent=1))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("what", choices=[*json.loads(CARDS.read_text()), "figures"])
    parser.add_argument("source", type=Path, help="the folder of the run, or the corpus for figures")
    parser.add_argument("-n", type=int, default=16, help="samples at each number of steps")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.what == "figures":
        json.dump(measure(args.source, args.n, args.seed), sys.stdout, indent=1)
    else:
        print(package(args.what, args.source))


if __name__ == "__main__":
    main()
