"""Environments for gymnasium: ``gymnasium.make("gencore_robot.envs:gencore/TwoWayReach-v0")`` imports and makes one."""

from __future__ import annotations

import gymnasium

_ALOHA, _REACH = "gencore_robot.envs.aloha", "gencore_robot.envs.reach:TwoWayReach"
_ENTRIES = {
    "gencore/AlohaTransferCube-v0": (f"{_ALOHA}:AlohaTransferCube", 400, {}),
    "gencore/AlohaInsertion-v0": (f"{_ALOHA}:AlohaInsertion", 400, {}),
    "gencore/TwoWayReach-v0": (_REACH, 60, {}),
    "gencore/TwoWayReachNamed-v0": (_REACH, 60, {"named": True}),
    "gencore/TwoWayReachVelocity-v0": (_REACH, 60, {"control": "velocity"}),
}

for _name, (_entry_point, _steps, _settings) in _ENTRIES.items():
    if _name not in gymnasium.registry:
        gymnasium.register(_name, entry_point=_entry_point, max_episode_steps=_steps, kwargs=_settings)
