"""Files in and out: what is written is read back, to the frame and the fraction; what is broken is told in a line."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gencore.errors import InputError
from gencore.media.comments import embed_gif, gif_comments, read_comment
from gencore.media.sheet import cut, sheet
from gencore.recipe import comment_of, read_recipe, sidecar
from gencore_video.io.contact import contact_sheet
from gencore_video.io.reading import Timeline, look, read_clip, timeline
from gencore_video.io.writing import SUFFIXES, check_clip, write_clip
from gencore_video.rate import read_rate, spell_rate

RECIPE = {"gencore": 1, "words": {"task": "predict", "fps": "é" * 300}}
FILMS = [suffix for suffix in SUFFIXES if suffix != ".frames"]


def moving(frames: int = 16, height: int = 32, width: int = 48) -> np.ndarray:
    """(T, H, W, 3) uint8: a grey disc that moves two pixels a frame over a still ramp, its centre at 4 + 2 t."""
    y, x = np.mgrid[:height, :width]
    clip = [np.where(np.hypot(x - 4 - 2 * t, y - height // 2) < 4, 230, x) for t in range(frames)]
    return np.stack(clip).astype(np.uint8)[..., None].repeat(3, -1)


def encode(path: Path, frames: np.ndarray, stamps: list[int], tick: Fraction = Fraction(1, 1000)) -> Path:
    """A file whose frames are shown at `stamps` ticks, written without the code under test."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "5"})
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        stream.time_base = stream.codec_context.time_base = tick
        for pixels, stamp in zip(frames, stamps, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = stamp, tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def sound(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("flac" if path.suffix == ".flac" else "aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.int16), format="s16", layout="mono")
        frame.rate = 8000
        for packet in stream.encode(frame):
            container.mux(packet)
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("suffix", FILMS)
@pytest.mark.parametrize("rate", ["10", "25/2", "24", "30000/1001"])
def test_frames_and_rate_come_back(tmp_path: Path, suffix: str, rate: str) -> None:
    path, frames = tmp_path / f"clip{suffix}", moving()
    write_clip(frames, path, Fraction(rate), RECIPE)
    clip = read_clip(path)
    assert clip.frames.shape == frames.shape
    gap = np.abs(clip.frames.astype(int) - frames)
    assert gap.max() == 0 if suffix in (".mkv", ".gif") else gap.mean() < 3
    if suffix == ".gif":
        # Its times are whole hundredths of a second.
        assert abs((len(frames) - 1) * (1 / clip.rate - 1 / Fraction(rate))) <= Fraction(1, 100)
    else:
        assert clip.rate == Fraction(rate)
    assert read_recipe(path) == RECIPE


@pytest.mark.parametrize("suffix", FILMS)
def test_equal_clips_are_equal_bytes(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "other").mkdir()
    places = tmp_path / f"one{suffix}", tmp_path / "other" / f"two{suffix}"
    for path in places:
        write_clip(moving(5), path, Fraction(10), RECIPE)
    assert places[0].read_bytes() == places[1].read_bytes()


@pytest.mark.parametrize("size", [(31, 33), (32, 17), (1, 1)])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".gif"])
def test_odd_sides_are_kept(tmp_path: Path, suffix: str, size: tuple[int, int]) -> None:
    write_clip(moving(3, *size), tmp_path / f"odd{suffix}", Fraction(10))
    assert read_clip(tmp_path / f"odd{suffix}").frames.shape == (3, *size, 3)


def test_a_still_clip_keeps_all_its_frames(tmp_path: Path) -> None:
    still = np.full((6, 8, 8, 3), 77, np.uint8)
    for suffix in FILMS:
        write_clip(still, tmp_path / f"still{suffix}", Fraction(10))
        assert len(read_clip(tmp_path / f"still{suffix}").frames) == 6, suffix


@pytest.mark.parametrize("suffix", [*FILMS, ".frames"])
def test_any_window_is_what_the_whole_clip_holds_there(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"clip{suffix}"
    write_clip(moving(20), path, Fraction(10))
    whole = read_clip(path).frames
    for start, count in ((0, 1), (7, 3), (19, 1), (-4, 4), (-6, None)):
        stop = None if count is None else (start % 20) + count
        assert np.array_equal(read_clip(path, start=start, count=count).frames, whole[start:stop]), (start, count)


def test_containers_of_other_programs(tmp_path: Path) -> None:
    # MPEG-TS seeks past key frames; what AVI calls presentation times are decoding times.
    frames = moving(20)
    for name, codec in (("a.ts", "libx264"), ("a.avi", "libx264"), ("b.avi", "mpeg4"), ("a.mov", "libx264")):
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream(codec, rate=25, options={"bf": "2", "g": "6"})
            stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
            for i, pixels in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts, frame.time_base = i, Fraction(1, 25)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        clip = read_clip(tmp_path / name)
        assert clip.rate == 25 and np.abs(clip.frames.astype(int) - frames).mean() < 6, name
        assert np.array_equal(read_clip(tmp_path / name, start=9, count=5).frames, clip.frames[9:14]), name


def test_pictures_turned_by_the_camera_stand_upright(tmp_path: Path) -> None:
    path = tmp_path / "turned.mp4"
    write_clip(moving(2, 32, 48), path, Fraction(10))
    raw = bytearray(path.read_bytes())
    # The matrix of the track header, 16.16 fixed point: a quarter turn.
    at = raw.index(b"tkhd") + 4 + 40
    raw[at : at + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 32 << 16, 0, 1 << 30)
    path.write_bytes(raw)
    turned = read_clip(path).frames[0]
    assert turned.shape == (48, 32, 3)
    # The ramp ran from left to right: a quarter turn clockwise makes it run downwards.
    assert turned[-1].mean() > turned[0].mean() + 20


def test_variable_rate_is_refused_or_resampled(tmp_path: Path) -> None:
    frames = moving(5)
    path = encode(tmp_path / "uneven.mp4", frames, [0, 100, 200, 600, 700])
    with pytest.raises(InputError, match=r"uneven.mp4 \(frames 100 to 400 ms apart\).*constant.*--fps") as fault:
        read_clip(path, field="known")
    assert fault.value.field == "known" and "\n" not in str(fault.value)
    clip = read_clip(path, rate=10)
    shown = [int(f[16].astype(int).sum(-1).argmax() > 0) and int(np.round((f[16, :, 0] > 150).nonzero()[0].mean()))
             for f in clip.frames]  # fmt: skip
    # Frames last until the next one: 0 1 2 2 2 2 3 4, and the last as long as the others on average.
    assert shown[:8] == [4, 6, 8, 8, 8, 8, 10, 12] and clip.rate == 10


def test_times_rounded_to_milliseconds_are_constant(tmp_path: Path) -> None:
    path = encode(tmp_path / "ms.mkv", moving(9), [round(i * 1000 / 30) for i in range(9)])
    assert timeline(path).rate is not None
    assert len(read_clip(path, rate="15").frames) == 5


@given(st.integers(2, 30), st.fractions(1, 60, max_denominator=12), st.fractions(1, 60, max_denominator=12))
@settings(max_examples=60, deadline=None)
def test_resampling_shows_the_frame_of_each_moment(count: int, rate: Fraction, wanted: Fraction) -> None:
    times = Timeline(tuple(range(count)), 1 / rate, rate)
    picked = times.at(wanted)
    assert len(picked) == max(1, round(count / rate * wanted))
    for k, index in enumerate(picked):
        # floor, on exact fractions
        assert index == min(count - 1, int(k / wanted * rate))


def test_the_sheet_shows_first_and_last(tmp_path: Path) -> None:
    clip = np.arange(40, dtype=np.uint8)[:, None, None, None].repeat(2, 1).repeat(2, 2).repeat(3, 3)
    pictures = cut(contact_sheet([clip]), 16, 16)
    shown = [int(p.mean()) for p in pictures]
    assert shown[0] == 0 and shown[-1] == 39 and shown == sorted(shown) and len(set(shown)) == 16
    assert np.array_equal(np.stack(cut(sheet([clip, clip + 1, clip + 2]), 3)), [clip, clip + 1, clip + 2])
    with pytest.raises(InputError, match="4x4 equal pictures"):
        cut(contact_sheet([clip]), 16)


def bad(tmp_path: Path) -> dict[str, Path]:
    """Files of no use, by what their message must hold."""
    clip = moving(20)
    for suffix in FILMS:
        write_clip(clip, tmp_path / f"whole{suffix}", Fraction(10))
    text = tmp_path / "notes.txt"
    text.write_text("not a video\n" * 50)
    playlist = tmp_path / "list.m3u8"
    playlist.write_text("#EXTM3U\n#EXTINF:1,\nwhole.mp4\n#EXT-X-ENDLIST\n")
    renamed = tmp_path / "renamed.mp4"
    renamed.write_text("not a video\n" * 50)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    found = {"notes": text, "list.m3u8": playlist, "renamed": renamed, "empty": empty, "no such": tmp_path / "no.mp4",
             "sound alone": sound(tmp_path / "sound.m4a"), "sound": sound(tmp_path / "cover.flac")}  # fmt: skip
    for suffix in FILMS:
        whole = (tmp_path / f"whole{suffix}").read_bytes()
        for share in (0.3, 0.9):
            part = tmp_path / f"cut-{share}{suffix}"
            part.write_bytes(whole[: int(len(whole) * share)])
            found[part.name] = part
    (tmp_path / "nothing").mkdir()
    found["no pictures"] = tmp_path / "nothing"
    (tmp_path / "mixed").mkdir()
    for i, side in enumerate((8, 9)):
        Image.new("RGB", (side, 8)).save(tmp_path / "mixed" / f"{i}.png")
    found["8x8 and 9x8"] = tmp_path / "mixed"
    return found


def test_useless_files_are_refused_in_one_line(tmp_path: Path) -> None:
    for words, path in bad(tmp_path).items():
        for read in (read_clip, look):
            with pytest.raises(InputError) as fault:
                pytest.fail(f"{path.name} is read as {read(path, field='known')}")
            text = str(fault.value)
            assert text.startswith("known: got ") and words in text and path.name in text and "\n" not in text, text


def test_a_hole_in_the_stream_is_no_clip(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    write_clip(moving(40), path, Fraction(10))
    raw = bytearray(path.read_bytes())
    at = raw.index(b"mdat") + 4
    middle = at + (len(raw) - at) // 2
    raw[middle : middle + 200] = bytes(200)
    path.write_bytes(raw)
    with pytest.raises(InputError, match=r"clip\.mp4"):
        read_clip(path)


def test_windows_outside_of_the_clip_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    write_clip(moving(6), path, Fraction(10))
    for start, count in ((0, 7), (6, None), (-7, None), (5, 2)):
        with pytest.raises(InputError, match=r"clip\.mkv with 6 frames"):
            read_clip(path, start=start, count=count)


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "inf", "x", "1/0", "2000", 0, 0.0])
def test_useless_rates_are_refused(rate: str) -> None:
    with pytest.raises(InputError, match="fps"):
        read_rate(rate)


@given(st.fractions(Fraction(1, 100), 1000, max_denominator=2000))
def test_rates_are_spelt_exactly(rate: Fraction) -> None:
    assert read_rate(spell_rate(rate)) == rate
    assert read_rate(0.1) == Fraction(1, 10)


def test_what_a_format_cannot_hold_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at most 50"):
        write_clip(moving(3), tmp_path / "fast.gif", Fraction(60))
    with pytest.raises(InputError, match="text, finite numbers"):
        write_clip(moving(3), tmp_path / "odd.mp4", Fraction(10), {"x": object()})
    with pytest.raises(InputError, match=r"\.mp4"):
        check_clip(tmp_path / "clip.xyz")
    assert not list(tmp_path.iterdir())
    write_clip(moving(3), tmp_path / "a.frames", Fraction(10), RECIPE)
    before = {p: p.read_bytes() for p in sorted((tmp_path / "a.frames").iterdir())}
    for path in (tmp_path / "a.frames",):
        with pytest.raises(InputError, match="--force"):
            write_clip(moving(4), path, Fraction(10))
    assert {p: p.read_bytes() for p in sorted((tmp_path / "a.frames").iterdir())} == before
    write_clip(moving(2), tmp_path / "a.frames", Fraction(10), None, force=True)
    assert len(list((tmp_path / "a.frames").iterdir())) == 2 and not sidecar(tmp_path / "a.frames").exists()


def test_folders_of_frames_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    folder.mkdir()
    for i in range(12):
        Image.new("RGB", (4, 4), (i, i, i)).save(folder / f"frame-{i}.png")
    assert read_clip(folder).frames[:, 0, 0, 0].tolist() == list(range(12)) and read_clip(folder).rate is None


def test_comments_survive_damage_and_nesting(tmp_path: Path) -> None:
    def comment(data: bytes) -> str:
        path = tmp_path / "any"
        path.write_bytes(data)
        with path.open("rb") as file:
            return read_comment(file)

    for suffix in FILMS:
        path = tmp_path / f"clip{suffix}"
        write_clip(moving(3), path, Fraction(10), RECIPE)
        whole = path.read_bytes()
        assert comment(whole) == comment_of(RECIPE)
        for length in range(0, len(whole), max(1, len(whole) // 60)):
            # A cut file has the comment, a part of it, or none; it never hangs or fails.
            assert comment_of(RECIPE).startswith(comment(whole[:length]))
    deep = struct.pack(">I", 20) + b"ftyp" + b"isom" + bytes(8)
    for _ in range(5000):
        deep += struct.pack(">I", 0) + b"moov"
    assert comment(deep) == ""
    assert comment(struct.pack(">I", 8) + b"ftyp" + struct.pack(">I", 4) + b"moov" * 9) == ""


@given(st.text(max_size=2000))
@settings(max_examples=50, deadline=None)
def test_gif_comments_of_any_text(text: str) -> None:
    blank = io.BytesIO()
    Image.new("P", (4, 4)).save(blank, "GIF")
    raw = embed_gif(blank.getvalue(), text)
    assert next(gif_comments(io.BytesIO(raw))).decode() == text
    assert Image.open(io.BytesIO(raw)).size == (4, 4)
