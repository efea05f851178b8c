"""RDT checkpoints (arXiv:2410.07864): the hub's folder, or a file of DeepSpeed training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from gencore.errors import CheckpointError
from gencore.loading import load_strict
from gencore.pipeline import Defaults, Pipeline
from gencore.processes.tables import TableProcess
from gencore.weights.files import read_checkpoint, select_state_dict
from gencore.weights.importer import imported, looks_like, recognised_by
from gencore_robot.backbones.norms import NormName
from gencore_robot.backbones.rdt import RDT
from gencore_robot.conditioning.observation import Observation
from gencore_robot.conditioning.precomputed import Precomputed
from gencore_robot.conditioning.proprioception import Proprioception
from gencore_robot.encoders import encoded
from gencore_robot.importers.layout import KEYS, build, read_settings
from gencore_robot.tokenizer import Chunks

LICENCE = "that of the imported file; the weights published with RDT-1B are MIT"
SAMPLER, STEPS = "dpmpp:spacing=open", 5


@recognised_by(KEYS)
def import_rdt(path: str | Path, *, norm: NormName = "timm_var", language: str | None = None,
               vision: str | None = None) -> Pipeline:  # fmt: skip
    """The pipeline of an RDT checkpoint, sampled as published: DPM-Solver++ with 5 steps.

    Every tensor finds its place or the import fails, where the published loader drops what does not fit.

    Args:
        path: folder with config.json and weights, a .safetensors or .bin file, or mp_rank_00_model_states.pt.
        norm: what the norms computed in training; timm_var unless NVIDIA apex or another timm than 1.0.3 was there.
        language: what reads instructions, t5:MODEL or file:PATH; without it tokens are given.
        vision: what reads pictures, siglip:MODEL; without it tokens are given.

    Raises:
        CheckpointError: damaged, unsafe, or of another layout.
        InputError: an encoder that does not fit, see `gencore_robot.encoders.encoded`.
    """
    net, process, notes = read_rdt(Path(path), norm)
    pipe = assemble(net, process, card=imported("rdt", path, notes, LICENCE))
    return encoded(pipe, language=language, vision=vision)


def read_rdt(path: Path, norm: NormName = "timm_var") -> tuple[RDT, TableProcess, list[str]]:
    """Network, process and what should be known of a checkpoint; arguments and errors as `import_rdt`."""
    config = read_settings(path)
    state, chosen = select_state_dict(read_checkpoint(path), prefer=("module", "ema", "model", "state_dict"))
    return network(state, config, norm, chosen)


def network(state: Mapping[str, Tensor], config: Mapping[str, Any], norm: NormName = "timm_var", chosen: str = ""
            ) -> tuple[RDT, TableProcess, list[str]]:  # fmt: skip
    """As `read_rdt`, of a state dict and the configuration that came with it."""
    hint = looks_like(state, "rdt")
    if unmatched := KEYS.unmatched(state):
        told = f"weights of another layout (unexpected: {', '.join(unmatched[:4])}{' ...' * (len(unmatched) > 4)})"
        raise CheckpointError("checkpoint", told, "weights of RDTRunner", hint)
    net = build(state, config, norm)
    load_strict(net, KEYS.apply(state, {name: value.shape for name, value in net.state_dict().items()}, hint))
    scheduler = config.get("noise_scheduler") or {}
    schedule, steps = scheduler.get("beta_schedule", "squaredcos_cap_v2"), scheduler.get("num_train_timesteps", 1000)
    process = TableProcess.named(schedule, steps, single=True)
    told = net.config()
    notes = [
        f"{len(state)} tensors mapped, 0 left over; {chosen or 'bare state dict'} chosen",
        f"width {told['width']} depth {told['depth']} heads {told['heads']} horizon {net.horizon} from the shapes",
        f"norm read as {norm}" + (", as timm 1.0.3 without apex computes it" if norm == "timm_var" else ""),
        f"predicts {net.prediction.kind} on {steps} levels of {schedule}"
        + ("" if config else ", as published: no config.json found"),
    ]  # fmt: skip
    return net, process, notes


def assemble(net: RDT, process: TableProcess, *, card: Mapping[str, Any], mean: Sequence[float] | None = None,
             absent: Mapping[str, int] | None = None) -> Pipeline:  # fmt: skip
    """The pipeline of `net` over chunks in the unified action space.

    Args:
        mean: state that stands for an absent one, see `Proprioception`.
        absent: of streams whose data have tokens for nothing, see `Precomputed`.
    """
    streams, nulls = net.config()["streams"], absent or {}
    conditioner = Observation([
        Proprioception(net.slots, mean=mean),
        *(Precomputed(name, part["dims"], part["length"], absent=nulls.get(name)) for name, part in streams.items()),
    ])  # fmt: skip
    return Pipeline(
        modality="robot", tokenizer=Chunks(net.horizon, net.slots), conditioner=conditioner, backbone=net,
        process=process, defaults=Defaults(SAMPLER, STEPS), card=card,
    )  # fmt: skip
