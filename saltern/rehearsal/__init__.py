"""The rehearsal of an upgrade: its migrations on copies of the databases, with production live.

Decisions are functions from values to values: :mod:`~saltern.rehearsal.services` reads what is
rehearsed from the model, :mod:`~saltern.rehearsal.outcome` says how a rehearsal went,
:mod:`~saltern.rehearsal.policy` whether an upgrade may begin without one, and
:mod:`~saltern.rehearsal.predict` what it tells of the upgrade. :mod:`~saltern.rehearsal.run`
carries one out over the bus.
"""
