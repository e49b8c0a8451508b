"""Canaries: long-lived things in a cloud that must survive every rollout, with their data.

- :mod:`saltern.canary.types` - what is remembered of each, what is said of it, the codes
- :mod:`saltern.canary.content` - their data: made from a seed, read back
- :mod:`saltern.canary.work` - who asks the cloud, and for how long
- :mod:`saltern.canary.identity`, ``image``, ``network``, ``compute``, ``storage`` - the kinds
- :mod:`saltern.canary.run` - make all, prove all, remove all
"""
