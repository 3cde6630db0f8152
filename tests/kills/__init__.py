"""Kills: the keeper, the daemon or both are killed, or the power fails; ``make kills ROUNDS=1000``."""
