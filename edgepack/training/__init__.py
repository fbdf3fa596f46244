"""What the steps of ``compress`` share: data in memory, one loop, losses, checkpoints.

A floor between ``compress`` and ``export``: the folder ``compress`` is a registry, where every
file is a step, so what steps share lives here; and a module is called through the interface that
``export`` binds it to, so that training sees the names that the exported graph will have.
"""
