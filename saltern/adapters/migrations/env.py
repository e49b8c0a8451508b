"""Alembic's entry: it migrates on the connection, and in the transaction, of its caller."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=False)
# one transaction around all steps: the journal's own
context.run_migrations()
