include:
  - galera.server
  - galera.database
