"""Pictures of LeRobot datasets: encoded in the files of the steps, or in a video of several episodes."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from gencore.errors import InputError
from gencore_robot.conditioning.frames import CameraFrames
from gencore_robot.data import open_episodes
from gencore_robot.embodiments.library import load
from gencore_robot.presets import pixels
from gencore_robot.readers.chunks import chunks_of

pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
Image = pytest.importorskip("PIL.Image")
av = pytest.importorskip("av")
LENGTHS, FPS = (3, 4), 10
STORED = np.random.default_rng(0).integers(0, 256, (7, 32, 48, 3), np.uint8)
FEATURES = {"observation.state": {"dtype": "float32"}, "action": {"dtype": "float32"},
            "observation.images.top": {"dtype": "image"}, "observation.images.hand": {"dtype": "video"}}  # fmt: skip


def encoded(picture: np.ndarray) -> dict[str, object]:
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG")
    return {"bytes": out.getvalue(), "path": None}


def shade(number: int) -> int:
    """Of all pixels of the number-th frame of the video."""
    return 30 + 25 * number


def film(path: Path) -> None:
    path.parent.mkdir(parents=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=FPS)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 48, 32, "yuv420p", 2
        for number in range(sum(LENGTHS)):
            frame = av.VideoFrame.from_ndarray(np.full((32, 48, 3), shade(number), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def dataset(root: Path) -> Path:
    for folder in ("meta/episodes/chunk-000", "data/chunk-000"):
        (root / folder).mkdir(parents=True)
    info = {"codebase_version": "v3.0", "fps": FPS, "features": FEATURES,
            "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
            "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"}  # fmt: skip
    (root / "meta/info.json").write_text(json.dumps(info))
    hand = "videos/observation.images.hand"
    rows = [{"episode_index": i, "length": n, "tasks": ["push"], "data/chunk_index": 0, "data/file_index": 0,
             f"{hand}/chunk_index": 0, f"{hand}/file_index": 0, f"{hand}/from_timestamp": sum(LENGTHS[:i]) / FPS}
            for i, n in enumerate(LENGTHS)]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), root / "meta/episodes/chunk-000/file-000.parquet")
    steps = [{"episode_index": i, "frame_index": f, "observation.state": [0.1 * f, 0.0], "action": [0.1 * f, 0.1],
              "observation.images.top": encoded(STORED[sum(LENGTHS[:i]) + f])}
             for i, n in enumerate(LENGTHS) for f in range(n)]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(steps), root / "data/chunk-000/file-000.parquet")
    film(root / hand / "chunk-000/file-000.mp4")
    robot = {**load("reach").config(), "control_hz": FPS, "cameras": {"external": "top", "right_wrist": "hand"}}
    (root / "embodiment.json").write_text(json.dumps(robot))
    return root


def test_each_step_has_its_own_pictures(tmp_path: Path) -> None:
    root = dataset(tmp_path / "set")
    pipe = pixels(open_episodes(root), width=24, depth=2).pipeline
    data = chunks_of(open_episodes(root), pipe)
    for number in (5, 0, 6, 3):
        images = data[number]["images"]
        assert images.shape == (2, 3, 32, 48) and images.dtype == torch.uint8
        assert torch.equal(images[0], torch.from_numpy(STORED[number]).permute(2, 0, 1))
        assert (images[1].float() - shade(number)).abs().max() < 9
    (part,) = [one for one in pipe.conditioner.parts if isinstance(one, CameraFrames)]  # type: ignore[attr-defined]
    assert part.roles == ["external", "right_wrist"]


def test_a_video_that_is_damaged_or_too_short_is_named(tmp_path: Path) -> None:
    root = dataset(tmp_path / "set")
    (last,) = [episode for episode in open_episodes(root).episodes if episode.length == 4]
    with pytest.raises(InputError, match=r"time: got no frame at 0\.9 s"):
        last.pictures["hand"](6)
    with pytest.raises(InputError, match="top 6: got 0 rows"):
        last.pictures["top"](6)
    file = next(root.rglob("*.mp4"))
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(InputError, match="a complete video"):
        last.pictures["hand"](0)
