"""The Pod Security Standard `restricted`, rule by rule: what a namespace that enforces it refuses.

The standard's page lists seventeen controls, the baseline's among them; `latest`, so that of Kubernetes 1.34 for hosts
of probes is one of them.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

Pod = Mapping[str, Any]
VOLUMES: Final = frozenset(
    ["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"]
)
SYSCTLS: Final = frozenset(
    (
        "kernel.shm_rmid_forced",
        *(f"net.ipv4.{name}" for name in ("ip_local_port_range", "ip_unprivileged_port_start", "ping_group_range")),
        *(f"net.ipv4.{name}" for name in ("tcp_syncookies", "ip_local_reserved_ports", "tcp_keepalive_time")),
        *(f"net.ipv4.{name}" for name in ("tcp_fin_timeout", "tcp_keepalive_intvl", "tcp_keepalive_probes")),
        *(f"net.ipv4.{name}" for name in ("tcp_rmem", "tcp_wmem")),
    )
)
SELINUX: Final = frozenset((None, "", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"))
PROFILES: Final = ("RuntimeDefault", "Localhost")


def containers(pod: Pod) -> Iterator[Pod]:
    """All of them: those that run before and beside, too."""
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        yield from pod.get(kind, ())


def _may(one: Pod) -> Mapping[str, Any]:
    """A pod's or a container's security context."""
    given: Mapping[str, Any] = one.get("securityContext") or {}
    return given


def _each(holds: Callable[[Mapping[str, Any]], bool]) -> Callable[[Pod], bool]:
    """For each container's security context."""
    return lambda pod: all(holds(_may(one)) for one in containers(pod))


def _all(holds: Callable[[Mapping[str, Any]], bool]) -> Callable[[Pod], bool]:
    """For the pod's, and each container's."""
    return lambda pod: holds(_may(pod)) and all(holds(_may(one)) for one in containers(pod))


def _inherited(key: str, holds: Callable[[Any], bool]) -> Callable[[Pod], bool]:
    """For the pod's, unless each container has its own; a container's own always."""

    def check(pod: Pod) -> bool:
        own = [_may(one).get(key) for one in containers(pod)]
        given = [one for one in own if one is not None]
        return all(holds(one) for one in given) and (len(given) == len(own) or holds(_may(pod).get(key)))

    return check


def _asked(pod: Pod) -> Iterator[Mapping[str, Any]]:
    for one in containers(pod):
        hooks = one.get("lifecycle", {})
        for handler in (*(one.get(f"{name}Probe") for name in ("liveness", "readiness", "startup")), *hooks.values()):
            yield from (handler[kind] for kind in ("httpGet", "tcpSocket") if handler and kind in handler)


RULES: Final[dict[str, Callable[[Pod], bool]]] = {
    "HostProcess": _all(lambda may: not may.get("windowsOptions", {}).get("hostProcess")),
    "Host namespaces": lambda pod: not any(pod.get(name) for name in ("hostNetwork", "hostPID", "hostIPC")),
    "Privileged containers": _each(lambda may: not may.get("privileged")),
    "Capabilities (dropped)": _each(lambda may: "ALL" in may.get("capabilities", {}).get("drop", ())),
    "Capabilities (added)": _each(lambda may: {*may.get("capabilities", {}).get("add", ())} <= {"NET_BIND_SERVICE"}),
    "Host ports": lambda pod: not any(port.get("hostPort") for one in containers(pod) for port in one.get("ports", ())),
    "Host probes and hooks": lambda pod: not any(one.get("host") for one in _asked(pod)),
    "AppArmor": _all(lambda may: may.get("appArmorProfile", {}).get("type") in (None, *PROFILES)),
    "SELinux (type)": _all(lambda may: may.get("seLinuxOptions", {}).get("type") in SELINUX),
    "SELinux (user and role)": _all(lambda may: not {"user", "role"} & {*may.get("seLinuxOptions", {})}),
    "/proc mount type": _each(lambda may: may.get("procMount") in (None, "Default")),
    "Sysctls": lambda pod: {one["name"] for one in _may(pod).get("sysctls", ())} <= SYSCTLS,
    "Volume types": lambda pod: all(not {*one} - {"name"} - VOLUMES for one in pod.get("volumes", ())),
    "Privilege escalation": _each(lambda may: may.get("allowPrivilegeEscalation") is False),
    "Running as non-root": _inherited("runAsNonRoot", lambda value: value is True),
    "Running as non-root user": _all(lambda may: may.get("runAsUser") != 0),
    "Seccomp": _inherited("seccompProfile", lambda value: (value or {}).get("type") in PROFILES),
}


def broken(pod: Pod) -> set[str]:
    """The rules that a pod breaks."""
    return {name for name, holds in RULES.items() if not holds(pod)}


BREAKS: Final[dict[str, dict[str, Any]]] = {
    "HostProcess": {"securityContext": {"windowsOptions": {"hostProcess": True}}, "pod": {"hostNetwork": True}},
    "Host namespaces": {"pod": {"hostPID": True}},
    "Privileged containers": {"securityContext": {"privileged": True, "allowPrivilegeEscalation": True}},
    "Capabilities (dropped)": {"securityContext": {"capabilities": {"drop": ["CHOWN"]}}},
    "Capabilities (added)": {"securityContext": {"capabilities": {"drop": ["ALL"], "add": ["SYS_ADMIN"]}}},
    "Host ports": {"container": {"ports": [{"containerPort": 80, "hostPort": 80}]}},
    "Host probes and hooks": {"container": {"livenessProbe": {"httpGet": {"host": "169.254.169.254", "port": 80}}}},
    "AppArmor": {"securityContext": {"appArmorProfile": {"type": "Unconfined"}}},
    "SELinux (type)": {"securityContext": {"seLinuxOptions": {"type": "spc_t"}}},
    "SELinux (user and role)": {"securityContext": {"seLinuxOptions": {"user": "sysadm_u"}}},
    "/proc mount type": {"securityContext": {"procMount": "Unmasked"}, "pod": {"hostUsers": False}},
    "Sysctls": {"pod": {"securityContext": {"runAsNonRoot": True, "sysctls": [{"name": "kernel.msgmax"}]}}},
    "Volume types": {
        "container": {"volumeMounts": [{"name": "root", "mountPath": "/host"}]},
        "pod": {"volumes": [{"name": "root", "hostPath": {"path": "/"}}]},
    },
    "Privilege escalation": {"securityContext": {"allowPrivilegeEscalation": True}},
    "Running as non-root": {"securityContext": {"runAsNonRoot": False}},
    "Running as non-root user": {"securityContext": {"runAsUser": 0}},
    "Seccomp": {"securityContext": {"seccompProfile": {"type": "Unconfined"}}},
}
"""What breaks each rule: in the pod, in its container, or in what that may do. Nothing but the standard refuses it."""


def breaking(pod: Pod, rule: str) -> dict[str, Any]:
    """The same pod of one container, but that it breaks the rule."""
    changed: dict[str, Any] = copy.deepcopy(dict(pod))
    (container,) = changed["containers"]
    container["securityContext"] |= BREAKS[rule].get("securityContext", {})
    container |= BREAKS[rule].get("container", {})
    changed |= BREAKS[rule].get("pod", {})
    return changed
