# Only the credentials: the objects in the APIs are the users' data.
openstack-resources-clouds-absent:
  file.absent:
    - name: /etc/openstack/clouds.yaml
