"""Salt engines: what the master runs beside its daemons."""
