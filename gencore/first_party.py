"""Packages published beside gencore, so that asking for one that is absent is answered with its install line.

The only place in the core that names a modality, and data alone: nothing here is imported or preferred because of
its name, and a package outside this table is never suggested.
"""

from __future__ import annotations

PLUGINS = {
    "images": "gencore-images",
    "video": "gencore-video",
    "soundvideo": "gencore-soundvideo",
    "voxels": "gencore-voxels",
    "robot": "gencore-robot",
    "parts": "gencore-parts",
    "text": "gencore-text",
    "kernels": "gencore-kernels",
}
"""``{plug-in name: distribution}``.  The distribution named here keeps the name if another one claims it too."""

VERBS = {"rollout": "gencore-robot", "record": "gencore-robot"}
"""``{command-line verb: distribution that adds it}``."""
