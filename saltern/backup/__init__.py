"""Backups: what is backed up where, which bundle is restored, which ones may go.

Decisions are functions from values to values: :mod:`~saltern.backup.sources` reads the model,
:mod:`~saltern.backup.choose` finds bundles and members, :mod:`~saltern.backup.retention` says what
expires. :mod:`~saltern.backup.run` carries them out over the bus.
"""
