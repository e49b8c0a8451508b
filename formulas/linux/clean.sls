# Takes back what linux.system wrote where the host can do without it; host names, package sources
# and installed packages stay.
{%- include "saltern/guard.jinja" %}
linux-clean-policy:
  file.absent:
    - name: /usr/sbin/policy-rc.d

linux-clean-sysctl:
  file.absent:
    - name: /etc/sysctl.d/90-saltern.conf

linux-clean-limits:
  file.absent:
    - name: /etc/security/limits.d/90-saltern.conf
