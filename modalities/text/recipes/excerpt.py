"""Cut the excerpt that the package holds from the corpus: the last chapters of its test part, at most 60 kB.

modalities/text/recipes/fetch_kjv.sh FOLDER
python modalities/text/recipes/excerpt.py FOLDER/kjv.txt
"""

from __future__ import annotations

import argparse
from pathlib import Path

from gencore.media.files import atomic_write
from gencore_text.data import EXCERPT, open_text

PACKAGE = Path(__file__).parents[1] / "src" / "gencore_text"
MOST = 60_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("corpus", type=Path, help="kjv.txt")
    args = parser.parse_args()
    (text,) = open_text(args.corpus, split="test").corpus.documents
    # A chapter begins after an empty line.
    begin = text.index("\n\n", len(text) - MOST) + 2
    with atomic_write(PACKAGE / EXCERPT, "w", force=True) as file:
        file.write(text[begin:])
    print(f"{PACKAGE / EXCERPT}: {len(text) - begin:,} characters")


if __name__ == "__main__":
    main()
