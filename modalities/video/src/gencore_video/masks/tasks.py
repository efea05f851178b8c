"""The tasks one video model is trained for."""

from __future__ import annotations

from gencore.masks.mixture import Mixture
from gencore_video.masks.complete import Complete
from gencore_video.masks.frames import Backward, ImageToVideo, Interpolate, Predict, RandomFrames, Unconditional


def video_tasks() -> Mixture:
    """VDT's training mixture (arXiv:2305.13311): completion in 1 of 5 samples, else one of six tasks over frames.

    Numbers of given frames vary from sample to sample, so that a model knows any of them; the published mixture has 8
    of 16 frames and every fourth frame.
    """
    frames = (Predict((1, -1)), Backward((1, -1)), Interpolate((2, 5)), Unconditional(), ImageToVideo(None),
              RandomFrames())  # fmt: skip
    return Mixture([(1.5, Complete()), *((1.0, kind) for kind in frames)])
