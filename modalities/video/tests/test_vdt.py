"""The video transformer: its equation, frames and places, times of their own, and given cells with every sampler."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gencore import components, plugins
from gencore.backbone import Backbone
from gencore.backbones.dit import DiT
from gencore.condition import Condition
from gencore.context import Context, Interceptor, StepInfo
from gencore.denoised import Prediction
from gencore.denoiser import Denoiser
from gencore.errors import InputError
from gencore.known import MODES, Known, KnownMode
from gencore.nn.init import seeded
from gencore.noise import Keyed
from gencore.process import GaussianProcess
from gencore.processes.flows import Clock, LinearFlow
from gencore.processes.tables import TableProcess
from gencore.run import stream
from gencore.sampler import Sampler
from gencore.spec import LatentSpec
from gencore_video.backbone import SIZES, VDT
from gencore_video.masks.complete import Complete
from gencore_video.masks.frames import Predict

WIDTH, HEADS = 24, 3
PORTS = {
    "label": {"kind": "label", "classes": 5},
    "style": {"kind": "modulation", "dims": 3},
    "flow": {"kind": "channel_concat", "dims": 2},
    "text": {"kind": "cross_attention", "dims": 4},
}


def draw(*shape: int, key: str = "x") -> Tensor:
    return Keyed([1], dtype=torch.float64).draw("normal", (key,), shape)[0]


def awake(net: Backbone) -> Any:
    """`net` with its zero weights replaced by small keyed values, so that every path counts."""
    for name, p in net.named_parameters():
        if not p.any():
            p.data = 0.2 * Keyed([0], dtype=p.dtype).draw("normal", (name,), tuple(p.shape))[0]
    return net.eval()


def small(depth: int = 2, ports: tuple[str, ...] = (), **options: Any) -> VDT:
    with seeded(0):
        net = VDT(2, 2, width=WIDTH, depth=depth, heads=HEADS, ports={p: PORTS[p] for p in ports}, **options)
    return awake(net).double()


def conditions(ports: tuple[str, ...], size: tuple[int, ...]) -> dict[str, Condition]:
    every = {
        "label": Condition(torch.tensor([3, 1])),
        "style": Condition(draw(2, 3, key="style")),
        "flow": Condition(draw(2, 2, *size, key="flow")),
        "text": Condition(
            draw(2, 5, 4, key="text"), mask=torch.tensor([[True] * 5, [True, True, False, False, False]])
        ),
    }
    return {name: every[name] for name in ports}


@torch.no_grad()
def call(net: Backbone, x: Tensor, t: Tensor, cond: dict[str, Condition] | None = None) -> Tensor:
    return net(x, t, cond or {}, Context()).pred


# ---- the equation


def attention(x: Tensor, weights: dict[str, Tensor], prefix: str) -> Tensor:
    """Multi-head attention over the rows of (N, D), one head at a time."""
    qkv = x @ weights[f"{prefix}.qkv.weight"].T + weights[f"{prefix}.qkv.bias"]
    q, k, v = qkv.split(WIDTH, dim=1)
    d = WIDTH // HEADS
    heads = []
    for i in range(HEADS):
        s = slice(i * d, (i + 1) * d)
        scores = q[:, s] @ k[:, s].T / math.sqrt(d)
        heads.append(scores.softmax(1) @ v[:, s])
    return torch.cat(heads, dim=1) @ weights[f"{prefix}.proj.weight"].T + weights[f"{prefix}.proj.bias"]


def plain(net: VDT, x: Tensor, t: float) -> Tensor:
    """One clip (C, T, H, W) through the network, read off the equations token by token."""
    w = {name: p.detach() for name, p in net.named_parameters()}
    _, frames, height, width = x.shape
    rows, columns = height // 2, width // 2
    angles = t * torch.exp(-math.log(10000) * torch.arange(128, dtype=torch.float64) / 128)
    features = torch.cat([angles.cos(), angles.sin()])
    hidden = F.silu(w["time_embed.mlp.0.weight"] @ features + w["time_embed.mlp.0.bias"])
    c = F.silu(w["time_embed.mlp.2.weight"] @ hidden + w["time_embed.mlp.2.bias"])

    def sincos(position: int, dim: int) -> Tensor:
        omega = 10000.0 ** (-torch.arange(dim // 2, dtype=torch.float64) / (dim / 2))
        return torch.cat([(position * omega).sin(), (position * omega).cos()])

    tokens = torch.empty(frames, rows * columns, WIDTH, dtype=torch.float64)
    for f in range(frames):
        for r in range(rows):
            for s in range(columns):
                patch = x[:, f, 2 * r : 2 * r + 2, 2 * s : 2 * s + 2].flatten()
                place = torch.cat([sincos(s, WIDTH // 2), sincos(r, WIDTH // 2)])
                tokens[f, r * columns + s] = (
                    w["patch_embed.weight"] @ patch + w["patch_embed.bias"] + place + sincos(f, WIDTH)
                )
    for i in range(len(net.blocks)):
        b = {name.removeprefix(f"blocks.{i}."): p for name, p in w.items() if name.startswith(f"blocks.{i}.")}
        for place in range(rows * columns):
            y = F.layer_norm(tokens[:, place], (WIDTH,), b["temporal.norm.weight"], b["temporal.norm.bias"], 1e-5)
            y = attention(y, b, "temporal.attn") @ b["temporal.fc.weight"].T + b["temporal.fc.bias"]
            tokens[:, place] += y
        s1, a1, g1, s2, a2, g2 = (b["modulation.weight"] @ c + b["modulation.bias"]).chunk(6)
        for f in range(frames):
            y = F.layer_norm(tokens[f], (WIDTH,), eps=1e-6) * (1 + a1) + s1
            tokens[f] += g1 * attention(y, b, "attn")
        y = F.layer_norm(tokens, (WIDTH,), eps=1e-6) * (1 + a2) + s2
        y = F.gelu(y @ b["mlp.fc1.weight"].T + b["mlp.fc1.bias"], approximate="tanh")
        tokens = tokens + g2 * (y @ b["mlp.fc2.weight"].T + b["mlp.fc2.bias"])
    shift, scale = (w["final_modulation.weight"] @ c + w["final_modulation.bias"]).chunk(2)
    y = F.layer_norm(tokens, (WIDTH,), eps=1e-6) * (1 + scale) + shift
    y = (y @ w["final.weight"].T + w["final.bias"]).reshape(frames, rows, columns, 2, 2, -1)
    return y.permute(5, 0, 1, 3, 2, 4).reshape(-1, frames, height, width)


@pytest.mark.parametrize("size", [(3, 4, 6), (5, 6, 2), (1, 4, 4)], ids=str)
@pytest.mark.parametrize("extra", [None, "learned_range"])
def test_a_clip_of_any_shape_is_what_the_equations_say(size: tuple[int, int, int], extra: Any) -> None:
    net = small(prediction=Prediction("epsilon", extra))
    x, t = draw(2, 2, *size), torch.tensor([3.0, 700.0], dtype=torch.float64)
    out = call(net, x, t)
    assert out.shape == (2, 2 if extra is None else 4, *size)
    for i in range(2):
        # The tables, and the features of a time, are float32.
        torch.testing.assert_close(out[i], plain(net, x[i], float(t[i])), rtol=0, atol=2e-5)


def test_image_mode_is_the_image_transformer() -> None:
    net = small(temporal="none", ports=("label",))
    with seeded(0):
        image = DiT(2, (2, 2), width=WIDTH, depth=2, heads=HEADS, ports={"label": PORTS["label"]}).double().eval()
    image.load_state_dict(net.state_dict())
    x, t, cond = draw(2, 2, 1, 4, 6), torch.tensor([0.0, 40.0]), conditions(("label",), (1, 4, 6))
    torch.testing.assert_close(call(net, x, t, cond)[:, :, 0], call(image, x[:, :, 0], t, cond), rtol=0, atol=1e-12)


def test_in_image_mode_every_frame_is_an_image() -> None:
    net, x, t = small(temporal="none"), draw(2, 2, 4, 4, 4), torch.tensor([5.0, 90.0])
    frames = [call(net, x[:, :, i : i + 1], t) for i in range(4)]
    torch.testing.assert_close(call(net, x, t), torch.cat(frames, dim=2), rtol=0, atol=1e-12)


def influence(net: VDT, frames: int = 4) -> Tensor:
    """(T, T) bool: whether frame j of the input changes frame i of the output."""
    x, t = draw(1, 2, frames, 4, 4), torch.tensor([40.0])
    out = call(net, x, t)
    rows = []
    for j in range(frames):
        other = x.clone()
        other[:, :, j] += 1
        rows.append((call(net, other, t) - out).abs().amax((0, 1, 3, 4)) > 1e-9)
    return torch.stack(rows, dim=1)


def test_only_temporal_attention_joins_frames() -> None:
    assert influence(small(1)).all()
    assert torch.equal(influence(small(1, temporal="table")), torch.eye(4, dtype=torch.bool))
    # Without attention but with the table, equal frames still differ by their place in time.
    still = draw(1, 2, 1, 4, 4).expand(-1, -1, 3, -1, -1)
    out = call(small(1, temporal="table"), still, torch.tensor([1.0]))
    assert (out[:, :, 1] - out[:, :, 0]).abs().max() > 1e-3
    out = call(small(1, temporal="none"), still, torch.tensor([1.0]))
    assert torch.equal(out[:, :, 1], out[:, :, 0])


def test_lengths_and_sizes_share_their_tables() -> None:
    net, x, t = small(1, temporal="table"), draw(1, 2, 6, 4, 4), torch.tensor([4.0])
    torch.testing.assert_close(call(net, x[:, :, :3], t), call(net, x, t)[:, :, :3], rtol=0, atol=1e-12)
    assert not any("table" in name or "pos" in name for name in net.state_dict())


def test_frames_may_be_as_many_as_channels() -> None:
    # [B, T, C, H, W] and [B, C, T, H, W] have one shape when T = C; the axes are never guessed.
    net, x = small(1), draw(1, 2, 2, 4, 4)
    swapped = call(net, x.transpose(1, 2).contiguous(), torch.tensor([9.0]))
    assert (swapped - call(net, x, torch.tensor([9.0]))).abs().max() > 1e-2


# ---- conditions, times, sites


@pytest.mark.parametrize("name", PORTS)
def test_every_port_counts(name: str) -> None:
    net, x, t = small(1, (name,)), draw(2, 2, 3, 4, 4), torch.tensor([1.0, 2.0])
    cond = conditions((name,), (3, 4, 4))
    other = {name: Condition(cond[name].value.flip(0), cond[name].mask)}
    assert (call(net, x, t, cond) - call(net, x, t, other)).abs().amax((1, 2, 3, 4)).min() > 1e-4


def test_masked_words_do_not_count() -> None:
    net, x, t, cond = small(1, ("text",)), draw(2, 2, 3, 4, 4), torch.tensor([1.0, 2.0]), conditions(("text",), ())
    value, mask = cond["text"].value.clone(), cond["text"].mask
    value[1, 2:] += 9
    assert torch.equal(call(net, x, t, cond), call(net, x, t, {"text": Condition(value, mask)}))


def test_a_frame_may_have_a_time_of_its_own() -> None:
    net, x = small(temporal="none"), draw(2, 2, 3, 4, 6)
    t = torch.tensor([[0.0, 30.0, 900.0], [5.0, 5.0, 0.0]])
    out = call(net, x, t.reshape(2, 1, 3, 1, 1))
    for i in range(3):
        torch.testing.assert_close(out[:, :, i : i + 1], call(net, x[:, :, i : i + 1], t[:, i]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("ports", [(), ("label", "text")], ids=str)
def test_equal_times_of_all_frames_are_one_time(ports: tuple[str, ...]) -> None:
    net, x, t, cond = small(1, ports), draw(2, 2, 3, 4, 4), torch.tensor([7.0, 300.0]), conditions(ports, (3, 4, 4))
    one = call(net, x, t, cond)
    torch.testing.assert_close(
        call(net, x, t.reshape(2, 1, 1, 1, 1).expand(2, 1, 3, 1, 1), cond), one, rtol=0, atol=1e-12
    )
    torch.testing.assert_close(call(net, x, t.reshape(2, 1, 1, 1, 1), cond), one, rtol=0, atol=1e-12)
    clean = t.reshape(2, 1, 1, 1, 1).repeat(1, 1, 3, 1, 1)
    clean[:, :, 0] = 0
    assert (call(net, x, clean, cond) - one).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("x", "t", "said"),
    [
        (draw(1, 2, 3, 4, 4), torch.zeros(1, 1, 1, 4, 1), "time axes"),
        (draw(1, 2, 3, 4, 4), torch.zeros(1, 2, 3, 1, 1), "one channel"),
        (draw(1, 2, 3, 5, 4), torch.zeros(1), "size of axis 'h'"),
        (draw(1, 2, 4, 4), torch.zeros(1), "T = 1"),
    ],
)
def test_what_the_network_cannot_take_is_refused(x: Tensor, t: Tensor, said: str) -> None:
    with pytest.raises(InputError, match=said):
        call(small(1), x, t)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"width": 25, "heads": 3}, "heads"),
        ({"width": 22, "heads": 2}, "width"),
        ({"temporal": "off"}, "temporal"),
        ({"ports": {"memory": {"kind": "token_concat", "dims": 4}}}, "no frame would hold its tokens"),
    ],
)
def test_networks_that_cannot_be_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        VDT(2, 2, **{"width": 24, "depth": 1, "heads": 3, **options})


class Recorder(Interceptor):
    """Keeps the kind and shape of every sub-layer, and of every attention's keys."""

    def __init__(self) -> None:
        self.sites: list[tuple[str, tuple[int, ...]]] = []
        self.keys: list[tuple[str, tuple[int, ...]]] = []

    def around(self, ctx: Context, kind: str, fn: Callable[..., Tensor], x: Tensor, *rest: Any) -> Tensor:
        out = fn(x, *rest)
        self.sites.append((ctx.path + kind, tuple(out.shape)))
        return out

    def kv(self, kind: str, kv: Any, ctx: Context) -> Any:
        self.keys.append((ctx.path + kind, tuple(kv.k.shape)))
        return kv


def test_every_sub_layer_is_a_site_of_whole_samples() -> None:
    net, recorder = small(1, ("text",)), Recorder()
    net(draw(2, 2, 3, 4, 6), torch.zeros(2), conditions(("text",), ()), Context(interceptor=recorder))
    tokens = (2, 18, WIDTH)
    assert recorder.sites == [
        ("embed", tokens), ("blocks.0.temporal", tokens), ("blocks.0.attn", tokens), ("blocks.0.cross", tokens),
        ("blocks.0.mlp", tokens), ("head", (2, 18, 8)),
    ]  # fmt: skip
    head = WIDTH // HEADS
    assert recorder.keys == [
        ("blocks.0.temporal", (12, HEADS, 3, head)), ("blocks.0.attn", (6, HEADS, 6, head)),
        ("blocks.0.cross", (2, HEADS, 5, head)),
    ]  # fmt: skip


# ---- building, training


@pytest.mark.parametrize("temporal", ["attention", "table", "none"])
def test_a_configuration_builds_an_equal_network(temporal: Any) -> None:
    net = small(ports=("label", "text"), temporal=temporal, prediction=Prediction("velocity"), mlp_ratio=2.5)
    again = components.build("backbone", components.describe("backbone", net)).double().eval()
    again.load_state_dict(net.state_dict())
    x, t, cond = draw(2, 2, 3, 4, 4), torch.tensor([1.0, 2.0]), conditions(("label", "text"), ())
    assert torch.equal(call(net, x, t, cond), call(again, x, t, cond))


def test_published_sizes() -> None:
    for name, millions in (("s", 43.5), ("l", 938.5)):
        with torch.device("meta"):
            net = VDT(4, 2, **cast(Any, SIZES[name]), prediction=Prediction("epsilon", "learned_range"))
        width, depth = SIZES[name]["width"], SIZES[name]["depth"]
        # 12 D^2 of DiT's linears + 6 D^2 of modulation, and 4 + 1 of the temporal ones.
        assert abs(sum(p.numel() for p in net.parameters()) / (23 * width**2 * depth) - 1) < 0.02
        assert abs(sum(p.numel() for p in net.parameters()) / 1e6 / millions - 1) < 0.1


def test_a_new_network_predicts_zero_and_its_temporal_part_is_not_zero() -> None:
    with seeded(0):
        net = VDT(2, 2, width=WIDTH, depth=2, heads=HEADS)
    assert not call(net, draw(1, 2, 3, 4, 4).float(), torch.tensor([5.0])).any()
    for block in net.blocks:
        fc = cast(Any, block).temporal.fc
        bound = math.sqrt(6 / (2 * WIDTH))
        assert 0.9 * bound < fc.weight.abs().max() <= bound and not fc.bias.any()


def saved_bytes(net: Backbone, frames: int) -> int:
    """Bytes that one training step keeps for the backward pass, each storage once, attention scores included."""
    kept: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return x

    x = torch.zeros(1, 2, frames, 16, 16)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        net(x, torch.zeros(1), {}, Context(attention="math"))
    parameters = {p.untyped_storage().data_ptr() for p in net.parameters()}
    return sum(n for pointer, n in kept.items() if pointer not in parameters)


def test_memory_grows_with_the_number_of_frames_and_not_with_its_square() -> None:
    with seeded(0):
        net = VDT(2, 4, width=48, depth=2, heads=2)
        joint = DiT(2, (1, 4, 4), width=48, depth=2, heads=2)
    ours = [saved_bytes(net, t) for t in (8, 16, 32)]
    whole = [saved_bytes(joint, t) for t in (8, 16, 32)]
    # Scores over T frames at each of 16 places: small beside activations of 48 channels.
    assert ours[1] / ours[0] < 2.1 and ours[2] / ours[1] < 2.2
    assert whole[2] / whole[1] > 2.5
    net.checkpointing = True
    assert net.checkpointing and saved_bytes(net, 16) < 0.2 * ours[1]


@pytest.mark.parametrize("ports", [(), ("text",)], ids=str)
def test_recomputed_blocks_have_the_same_gradients(ports: tuple[str, ...]) -> None:
    net, x, t, cond = small(ports=ports), draw(2, 2, 3, 4, 4), torch.tensor([1.0, 40.0]), conditions(ports, ())

    def gradients() -> dict[str, Tensor]:
        net.zero_grad()
        net(x, t, cond, Context()).pred.square().mean().backward()
        return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}

    kept = gradients()
    net.checkpointing = True
    again = gradients()
    assert kept.keys() == again.keys() == dict(net.named_parameters()).keys()
    assert all(torch.equal(kept[name], again[name]) for name in kept)


@pytest.mark.parametrize("recomputed", [False, True])
def test_all_blocks_compile_to_one_graph(recomputed: bool) -> None:
    count = 0

    def back_end(module: torch.fx.GraphModule, inputs: Any) -> Callable[..., Any]:
        nonlocal count
        count += 1
        return module.forward

    net, x, t = small(3), draw(2, 2, 3, 4, 4), torch.tensor([1.0, 500.0])

    def gradients() -> list[Tensor]:
        return list(torch.autograd.grad(net(x, t, {}, Context()).pred.square().mean(), list(net.parameters())))

    expected = gradients()
    net.checkpointing = recomputed
    torch._dynamo.reset()
    for block in net.blocks:
        block.compile(backend=back_end, fullgraph=True)
    torch.testing.assert_close(gradients(), expected, rtol=0, atol=1e-12)
    torch._dynamo.reset()
    assert count == 1


def test_half_precision_stays_close() -> None:
    net, x, t = small().float(), draw(2, 2, 4, 4, 4).float(), torch.tensor([3.0, 500.0])
    exact, half = call(net, x, t), call(net.to(torch.bfloat16), x.to(torch.bfloat16), t)
    assert half.dtype == torch.bfloat16
    assert (half.float() - exact).norm() < 0.03 * exact.norm()


# ---- given cells with every sampler

SPEC = LatentSpec("b c t h w", (2, 4, 4, 4), time_axes=("t",))
GIVEN = draw(1, 2, 4, 4, 4, key="given").float()
SAMPLERS = [
    name
    for name in plugins.provided("sampler")
    if "/" not in name and components.build("sampler", {"type": name}).kind == "continuous"
]


class Watched(Backbone):
    """A network that keeps what it was shown."""

    def __init__(self, net: VDT) -> None:
        super().__init__()
        self.net, self.prediction, self.ports, self.time_axes = net, net.prediction, net.ports, net.time_axes
        self.seen: list[tuple[Tensor, Tensor]] = []

    def forward(self, x_t: Tensor, t: Tensor, cond: Any, ctx: Context) -> Any:
        self.seen.append((x_t, t))
        return self.net(x_t, t, cond, ctx)

    def config(self) -> dict[str, Any]:
        return self.net.config()


def sampled(name: str, process: GaussianProcess, prediction: Prediction, known: Known | None, seed: int = 7
            ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:  # fmt: skip
    net = Watched(small(1, prediction=prediction).float())
    for p in net.net.final.parameters():
        p.data *= 0.3
    sampler: Sampler = components.build("sampler", {"type": name})
    times = sampler.times(process, prediction.kind, 4)
    *_, last = stream(Denoiser(net, process, {}), sampler, SPEC, times, Keyed([seed, seed + 1]), known=known)
    return last.x, net.seen


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("kind", [Predict(1), Complete()], ids=["frames", "blocks"])
def test_given_cells_with_every_sampler(name: str, mode: KnownMode, kind: Any) -> None:
    flow = name in ("sde", "dopri5", "euler", "heun", "runge-kutta")
    process = LinearFlow(Clock(scale=1000.0)) if flow else TableProcess.named("linear", 1000)
    prediction = Prediction("velocity") if flow else Prediction("epsilon")
    mask = kind((4, 4, 4), Random(2)).expand(4, 4, 4)[None, None]
    x, seen = sampled(name, process, prediction, Known(GIVEN, mask, mode))
    free = mask.expand(2, 2, 4, 4, 4)
    assert x.isfinite().all()
    assert torch.equal(x[~free], GIVEN.expand(2, -1, -1, -1, -1)[~free])
    # Other given values make other clips: the network sees them.
    other, _ = sampled(name, process, prediction, Known(-GIVEN, mask, mode))
    assert (x - other)[free].abs().max() > 1e-4
    given, whole = GIVEN.expand(2, -1, -1, -1, -1), ~mask[0, 0].flatten(1).any(1)
    clean = process.model_time(torch.zeros(1, dtype=torch.float64))
    for shown, t in seen:
        if mode != "replace_state":
            assert torch.equal(shown[~free], given[~free])
        if mode == "per_token_time":
            assert t.shape == (2, 1, 4, 1, 1)
            assert torch.equal(t[:, 0, whole].flatten(), clean.expand(2 * int(whole.sum())))
        else:
            assert t.shape == (2,)
    first = seen[0][1] if mode != "per_token_time" else seen[0][1][:, 0, ~whole]
    assert (first > clean).all()


def test_every_core_sampler_is_among_them() -> None:
    core = {"ddpm", "ddim", "dpmpp", "euler", "heun", "runge-kutta", "dopri5", "sde"}
    assert core <= set(SAMPLERS)


def test_steps_of_given_frames_count_as_one_run_with_step_information() -> None:
    net = small(1)
    denoise = Denoiser(net, LinearFlow(), {})
    x = draw(1, 2, 4, 4, 4)
    one = denoise(x, torch.tensor([0.5], dtype=torch.float64), StepInfo(0, 1))
    frames = SPEC.time(torch.full((1, 4), 0.5, dtype=torch.float64), axes="b t")
    torch.testing.assert_close(denoise(x, frames).x0, one.x0, rtol=0, atol=1e-9)
