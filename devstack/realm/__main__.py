"""`python -m devstack.realm`: the realm's commands alone, for an image that has nothing else of devstack."""

from devstack.realm.commands import realm

realm()
