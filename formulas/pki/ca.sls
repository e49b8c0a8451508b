# The internal certificate authority: a key that never leaves this host, and its certificate.
{%- from "pki/map.jinja" import pki with context %}
{%- set ca = pki.ca %}
pki-ca-base:
  file.directory:
    - name: {{ salt["file.dirname"](ca.directory) }}
    - user: root
    - group: root
    - mode: "0755"
    - makedirs: True

pki-ca-directory:
  file.directory:
    - names:
      - {{ ca.directory }}
      - {{ ca.directory }}/issued
    - user: root
    - group: root
    - mode: "0700"
    - require:
      - file: pki-ca-base

pki-ca-key:
  x509.private_key_managed:
    - name: {{ ca.directory }}/ca.key
    - algo: {{ ca.key.algo }}
    - keysize: {{ ca.key.size }}
    - user: root
    - group: root
    - mode: "0600"
    - require:
      - file: pki-ca-directory

pki-ca-certificate:
  x509.certificate_managed:
    - name: {{ ca.directory }}/ca.crt
    - signing_private_key: {{ ca.directory }}/ca.key
    - CN: {{ ca.subject | json }}
    - basicConstraints: "critical, CA:true, pathlen:0"
    - keyUsage: "critical, cRLSign, keyCertSign"
    - subjectKeyIdentifier: hash
    - days_valid: {{ ca.days_valid }}
    - days_remaining: {{ ca.days_remaining }}
    - user: root
    - group: root
    - mode: "0644"
    - require:
      - x509: pki-ca-key
