include:
  - haproxy.proxy
