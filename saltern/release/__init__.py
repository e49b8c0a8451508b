"""Releases: which versions there are, what may follow what, and the way from one state to another.

``lifecycle`` reads the catalogue, ``observe`` what a cluster runs, ``solve`` finds the hops or the
smallest reason why there are none, ``show`` writes both down. Values in, values out.
"""
