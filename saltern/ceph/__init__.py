"""Ceph as a whole: what no single host can decide."""
