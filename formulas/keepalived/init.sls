include:
  - keepalived.vrrp
