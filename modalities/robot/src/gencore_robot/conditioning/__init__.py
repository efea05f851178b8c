"""From observations to the conditions of an action network: one small conditioner for each part of an observation."""
