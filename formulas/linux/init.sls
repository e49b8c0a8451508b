include:
  - linux.system
