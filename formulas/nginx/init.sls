include:
  - nginx.server
