"""Tuning: which cache suits a model best, measured on that model.

`gencore.tuning.audit` measures candidates, `gencore.tuning.schedule` finds irregular schedules among them, and
`gencore.tuning.tune` picks the fastest within an error budget as a `gencore.tuning.cache_plan.CachePlan`.
"""
