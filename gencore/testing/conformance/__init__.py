"""What must hold for every modality, checked on any installed one: ``gencore check NAME``.

A check is a function of a `Subject` whose docstring says why it exists; its id is its name with dashes.
"""
