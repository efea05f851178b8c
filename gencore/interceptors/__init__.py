"""Interceptors: what caches, forecasts or records the sub-layers of any backbone.

A cache is ``schedule x predictor x sites``: which steps compute, what stands in for the others, and where.  Its state
lives in the run (`gencore.interceptors.memory`), one entry for every request, guidance branch, solver stage and site.
"""
