"""Sanity: use a cloud as its users do, through real clients, and leave nothing behind.

- :mod:`saltern.sanity.target` - what is asked: administrator, URLs, members; from a pillar
- :mod:`saltern.sanity.checks` - the checks, one row of a table each, by role
- :mod:`saltern.sanity.run` - runs them, bounded in time, and makes the report
- :mod:`saltern.sanity.guest`, :mod:`saltern.sanity.waiting` - servers and how they are reached;
  waiting that ends; for canaries too
- :mod:`saltern.sanity.probe` - issues tokens for a while and measures the longest gap
"""
