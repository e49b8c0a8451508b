include:
  - memcached.server
