"""Episodes of one HDF5 file each, as ACT and RDT write them.

``observations/qpos`` (T, S) and ``action`` (T, A), and of simulations ``observations/env_state`` (T, E), such as the
poses of objects; ``observations/images/<camera>`` is (T, H, W, 3) uint8, (T, N)
uint8 rows of an encoded picture with zeros behind it, or (T,) such rows of their own lengths.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gencore.errors import InputError, MissingDependency
from gencore_robot.embodiments.library import parse
from gencore_robot.readers.episode import Episode, checked, require

if TYPE_CHECKING:
    import h5py

STATE, ACTION, IMAGES = "observations/qpos", "action", "observations/images"
ENVIRONMENT = "observations/env_state"


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """The file, closed afterwards.

    Raises:
        InputError: it does not exist, or is truncated, damaged where it is read, or no HDF5 at all.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError) as error:
        raise InputError("episode", path, "a complete HDF5 file", str(error).partition("\n")[0]) from error


def numbers(path: Path, state: str = STATE, action: str = ACTION) -> tuple[np.ndarray, np.ndarray]:
    """State (T, S) and action (T, A), float64.

    Raises:
        InputError: the file is damaged, a key is missing, lengths differ, or a value is not finite.
    """
    with opened(path) as file:
        read = {key: array(file, key, path) for key in (state, action)}
    first, second = checked(str(path), read)
    return first, second


def array(file: h5py.File, key: str, path: Path) -> Any:
    """The whole of the dataset `key`."""
    return dataset(file, key, path)[()]


def dataset(file: h5py.File, key: str, path: Path) -> h5py.Dataset:
    """The dataset `key`.

    Raises:
        InputError: there is none of this name, or one without an axis.
    """
    import h5py

    found: dict[str, h5py.Dataset] = {}

    def collect(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item

    file.visititems(collect)
    require(list(found), key, str(path))
    if not found[key].ndim:
        raise InputError(f"{path}: {key}", "one value", "an array with an entry a step")
    return found[key]


def frames(path: Path, camera: str, steps: Sequence[int], order: str = "bgr") -> np.ndarray:
    """Pictures (len(steps), H, W, 3) uint8 of a camera.

    Args:
        order: of the colours of an encoded picture: ``bgr``, as OpenCV decodes it and RDT was trained, or ``rgb``.
            Pictures that are stored raw come as they lie.

    Raises:
        InputError: no such camera, a step outside the episode, a picture that does not decode, another order.
        MissingDependency: encoded pictures without Pillow.
    """
    if order not in ("bgr", "rgb"):
        raise InputError("order", order, "bgr or rgb")
    with opened(path) as file:
        data = dataset(file, f"{IMAGES}/{camera}", path)
        if outside := [step for step in steps if not 0 <= step < len(data)]:
            raise InputError(f"{path}: step", outside[0], f"0..{len(data) - 1}")
        rows = {step: data[step] for step in steps}
    where = f"{path}: {camera}"
    pictures = {
        step: row if np.ndim(row) == 3 else decoded(row, order, f"{where} {step}") for step, row in rows.items()
    }
    return np.stack([pictures[step] for step in steps])


def cameras(path: Path, file: h5py.File) -> dict[str, Callable[[int], np.ndarray]]:
    """What reads the pictures of each camera of the file, see `Episode`; encoded ones come as their colours are."""
    import h5py

    found = file.get(IMAGES)
    named = map(str, found) if isinstance(found, h5py.Group) else ()
    return {camera: partial(_picture, path, camera) for camera in named}


def _picture(path: Path, camera: str, step: int) -> np.ndarray:
    return frames(path, camera, [step], "rgb")[0]


def decoded(row: Any, order: str, where: str) -> np.ndarray:
    """(H, W, 3) uint8 of an encoded picture; zeros behind it are not read."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise MissingDependency("pillow", "encoded pictures", "gencore-robot[data]") from error
    try:
        with Image.open(io.BytesIO(bytes(row))) as picture:
            rgb = np.asarray(picture.convert("RGB"))
    except (UnidentifiedImageError, OSError) as error:
        raise InputError(where, "bytes that are no picture", "JPEG or PNG") from error
    return rgb[..., ::-1] if order == "bgr" else rgb


def act_episode(path: Path) -> Episode:
    """An episode of ACT / ALOHA, or of ``gencore record``: every step may begin a sample.

    The attribute `instruction`, if there is one, says the task, and `embodiment` holds the content of an embodiment
    file.

    Raises:
        InputError: the file is damaged or lacks a key.
    """
    with opened(path) as file:
        length = len(dataset(file, STATE, path))
        seen = partial(environment, path) if ENVIRONMENT in file else None
        said, robot = (_text(file.attrs.get(key, "")) for key in ("instruction", "embodiment"))
        seeing = cameras(path, file)
    return Episode(str(path), length, partial(numbers, path), instructions=((said,),) if said else (), environment=seen,
                   embodiment=parse(robot, str(path)) if robot else None,
                   pictures=seeing)  # fmt: skip


def _text(value: Any) -> str:
    # Fixed-length strings of HDF5 are bytes.
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def environment(path: Path, key: str = ENVIRONMENT) -> np.ndarray:
    """State of the environment (T, E), float64.

    Raises:
        InputError: as `numbers`.
    """
    with opened(path) as file:
        (found,) = checked(str(path), {key: array(file, key, path)})
    return found
