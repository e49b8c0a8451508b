"""
A cloud has its first administrator
===================================

.. code-block:: yaml

    keystone-server-bootstrap:
      keystone_bootstrap.done:
        - name: admin
        - config: /etc/keystone/keystone.conf
        - password_pillar: keystone:server:bootstrap:password
        - region: RegionOne
        - url: {public: "https://api.example.test:5000/v3", ...}
        - venv: /opt/openstack/current/keystone
"""

from salt.exceptions import CommandExecutionError

__virtualname__ = "keystone_bootstrap"


def __virtual__():
    if "keystone_bootstrap.missing" in __salt__:
        return __virtualname__
    return False, "the keystone_bootstrap execution module is not available"


def done(name, config, password_pillar, region, url, project="admin", user="keystone", venv="/usr"):
    """
    The administrator, its roles, the region and the identity endpoints exist.

    name
        Name of the administrator.
    config
        Configuration file of Keystone.
    password_pillar
        Path in the pillar, ``:`` between the keys, of the administrator's password.
    region
        Region of the identity endpoints.
    url
        URLs of the endpoints: ``{"public":, "internal":, "admin":}``; written once, from then on
        the catalogue belongs to the API's own states.
    project
        Project of the administrator.
    user, venv
        Keystone's user and virtual environment (``/usr`` for distribution packages).
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": "the cloud is bootstrapped"}
    who = {"password_pillar": password_pillar, "region": region, "user": user, "venv": venv}
    who.update(username=name, project=project)
    if __opts__["test"] and not (
        __salt__["file.file_exists"](f"{venv}/bin/python3") and __salt__["file.file_exists"](config)
    ):
        ret.update(
            result=None, comment="the cloud would be bootstrapped once Keystone is installed"
        )
        ret["changes"] = {"bootstrap": {"old": "unknown", "new": "done"}}
        return ret
    try:
        before = __salt__["keystone_bootstrap.missing"](config, **who)
        if not before:
            return ret
        changes = {"made": before}
        if __opts__["test"]:
            ret.update(result=None, changes=changes, comment="the cloud would be bootstrapped")
            return ret
        __salt__["keystone_bootstrap.run"](config, url=url, **who)
        ret["changes"] = changes
        left = __salt__["keystone_bootstrap.missing"](config, **who)
        if left:
            raise CommandExecutionError(f"after the bootstrap there is still no {left[0]}")
        ret["comment"] = "the cloud was bootstrapped"
    except CommandExecutionError as err:
        ret.update(result=False, comment=str(err))
    return ret
