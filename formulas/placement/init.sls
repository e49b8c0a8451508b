include:
  - placement.server
