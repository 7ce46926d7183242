"""The sample server; the only part of devstack that imports the product."""
