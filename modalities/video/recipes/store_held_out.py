"""Simulate and store the packaged held-out motions: seeds 0..255, 80 frames.

python modalities/video/recipes/store_held_out.py
"""

from __future__ import annotations

from gencore_video.physics.clips import HELD_OUT, Simulated, store_motions

if __name__ == "__main__":
    HELD_OUT.parent.mkdir(parents=True, exist_ok=True)
    store_motions(Simulated(range(256), 80), HELD_OUT)
    print(f"{HELD_OUT.name}: {HELD_OUT.stat().st_size / 1000:.0f} kB")
