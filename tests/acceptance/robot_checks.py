"""Checks of policies in environments.  The cube needs gencore-robot[aloha]; without it the reach stands in."""

from __future__ import annotations

import json
from importlib.util import find_spec
from typing import Any

from harness import World, check, nothing_in

CUBE, REACH = "gencore/AlohaTransferCube-v0", "gencore/TwoWayReach-v0"
SIMULATOR = find_spec("gym_aloha") is not None and find_spec("mujoco") is not None


@check("U22", "success rates of a robot policy")
def success_rates(world: World) -> str:
    folder, env = world.fresh("rollouts"), CUBE if SIMULATOR else REACH
    told: dict[int, dict[str, Any]] = {}
    seconds = 0.0
    for count in (4, 1):
        run = world.gencore("rollout", "robot", "--env", env, "--episodes", "50", "--seed", "0", "--num-envs",
                            str(count), "--json", cwd=folder, env={"DISPLAY": ""}, timeout=900).ok()  # fmt: skip
        told[count] = found = json.loads(run.out)
        seconds += run.seconds
        low, high = found["interval"]
        assert 0 <= low <= found["success_rate"] <= high <= 1, found["interval"]
        assert found["success_rate"] == len(found["successes"]) / 50, found["success_rate"]
        assert set(found["latency_ms"]) >= {"p50", "p95", "max"} and found["versions"]["gencore"], found
        assert found["seeds"] == list(range(50)), found["seeds"]
    nothing_in(folder)
    for one, other in ((4, 1), (1, 4)):
        low, high = told[other]["interval"]
        assert low <= told[one]["success_rate"] <= high, f"{one} environments: {told[one]['success_rate']}"
    rates = ", ".join(f"{found['success_rate']:.0%} with {count}" for count, found in told.items())
    return f"{env}: {rates} environments; {world.within('both', seconds, 600)}"


@check("U23", "rollout without a display")
def no_display(world: World) -> str:
    folder = world.fresh("blind")
    words = ("rollout", "robot", "--env", CUBE, "--episodes", "1", "--video", "v.mp4")
    run = world.gencore(*words, cwd=folder, env={"DISPLAY": "", "MUJOCO_GL": "glfw"}, timeout=60)
    run.refused(*(("MUJOCO_GL", "--video") if SIMULATOR else ("gencore-robot[aloha]",)))
    nothing_in(folder)
    return f"refused in {run.seconds:.1f} s" + ("" if SIMULATOR else ", for want of the simulator")
