"""The layered model: compile it, serve it, check it.

>>> inventory = Inventory("/srv/saltern/model")            # doctest: +SKIP
>>> inventory.node("ctl01.demo-core.test").parameters      # doctest: +SKIP
"""

from __future__ import annotations

from saltern.errors import ModelError
from saltern.model.inventory import Inventory, Node

__all__ = ["Inventory", "ModelError", "Node"]
