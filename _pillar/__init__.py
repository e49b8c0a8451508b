"""Salt pillar of Saltern; loaded by Salt, and a package so that the wheel can carry them."""
