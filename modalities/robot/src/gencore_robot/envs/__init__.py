"""Environments for gymnasium: ``gymnasium.make("gencore_robot.envs:gencore/TwoWayReach-v0")`` imports and makes one."""

from __future__ import annotations

import gymnasium

_ENTRIES = {
    "gencore/AlohaTransferCube-v0": ("gencore_robot.envs.aloha:AlohaTransferCube", 400),
    "gencore/AlohaInsertion-v0": ("gencore_robot.envs.aloha:AlohaInsertion", 400),
    "gencore/TwoWayReach-v0": ("gencore_robot.envs.reach:TwoWayReach", 60),
}

for _name, (_entry_point, _steps) in _ENTRIES.items():
    if _name not in gymnasium.registry:
        gymnasium.register(_name, entry_point=_entry_point, max_episode_steps=_steps)
