"""What the images and the containers are: who they run as, what they may do, what is in them."""

import re
from collections.abc import Iterator

from tests.docker.engine import ROOT, Stack, Wrong, docker, inspect

ROLES = ("api", "worker", "reaper")
BUILD_TOOLS = ("cc", "gcc", "g++", "make", "ld", "pip", "pip3", "uv", "git", "hatchling")
Finding = tuple[str, str]
MIB = 1024 * 1024


def base_of(role: str) -> str:
    """The image that the role's last stage begins with."""
    return re.findall(r"^FROM +(\S+)", (ROOT / f"Dockerfile.{role}").read_text(), re.MULTILINE)[-1]


def sizes(role: str) -> str:
    """Tell the image's size, and what of it is not the base image's."""
    whole, base = inspect(f"jobqueue-{role}")["Size"], inspect(base_of(role))["Size"]
    return f"{whole / MIB:.0f} MiB, of it {(whole - base) / MIB:.0f} MiB on top of {base_of(role)}"


def check_images() -> Iterator[Finding]:
    """Look at each image. Raises Wrong."""
    wheels = set()
    for role in ROLES:
        image = f"jobqueue-{role}"
        config = inspect(image)["Config"]
        labels = {name.rpartition(".")[2] for name in config.get("Labels") or {} if name.startswith("org.opencontainers.image.")}
        facts = {
            "user": config["User"] == "1000:1000",
            "exec-form command": config["Cmd"][:2] == ["jobqueue", role] and not config.get("Entrypoint"),
            "health check": "/opt/jobqueue/healthy.py" in config["Healthcheck"]["Test"],
            "labels": {"title", "description", "version", "revision", "licenses"} <= labels,
        }
        if wrong := [name for name, is_so in facts.items() if not is_so]:
            raise Wrong(f"{image}: {wrong}: {config}")
        wheels.add(run_in(image, "sha256sum /opt/jobqueue/lib/python3*/site-packages/jobqueue-*.dist-info/RECORD").split()[0])
        version = run_in(image, "jobqueue --version")
        yield f"{image}: user, command, health, labels", f"1000:1000, {' '.join(config['Cmd'])}, {version}"
    if len(wheels) != 1:
        raise Wrong(f"the images hold different wheels: {wheels}")
    yield "the same wheel in all three", f"RECORD {wheels.pop()[:12]}"
    yield "build tools", check_no_build_tools()


def check_no_build_tools() -> str:
    """Find none that the base image did not bring already, and none of Python's at all."""
    found = set(tools_in("jobqueue-api"))
    brought = set(tools_in(base_of("api")))
    if added := found - brought:
        raise Wrong(f"build tools in the image: {sorted(added)}")
    return f"none, but what the base image here brings: {', '.join(sorted(found))}" if found else "none"


def tools_in(image: str) -> list[str]:
    return run_in(image, f"for tool in {' '.join(BUILD_TOOLS)}; do command -v $tool >/dev/null && echo $tool; done; true").split()


def run_in(image: str, script: str) -> str:
    return docker("run", "--rm", "--network", "none", "--entrypoint", "sh", image, "-c", script)


def check_containers(stack: Stack) -> Iterator[Finding]:
    """Look at each container as the engine sees it, then from inside. Raises Wrong."""
    names = stack.containers()
    for name in names:
        host = inspect(name)["HostConfig"]
        if not host["ReadonlyRootfs"] or host["CapDrop"] != ["ALL"] or host["CapAdd"] or host["Privileged"]:
            raise Wrong(f"{name}: may do too much: {host['ReadonlyRootfs']=} {host['CapDrop']=} {host['CapAdd']=}")
        if "no-new-privileges:true" not in (host["SecurityOpt"] or []):
            raise Wrong(f"{name}: may gain privileges: {host['SecurityOpt']}")
    yield f"{len(names)} containers, as inspected", "read-only root, all capabilities dropped, no-new-privileges"
    for service in (*ROLES, "postgres"):
        yield f"{service}, from inside", check_from_inside(stack, service)


def check_from_inside(stack: Stack, service: str) -> str:
    """Read process 1's rights, and try to write into the root."""
    status = dict(re.findall(r"^(\w+):\s+(.+)$", stack.run_in(service, "cat", "/proc/1/status"), re.MULTILINE))
    uid = status["Uid"].split()[0]
    rights = {name: int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
    if any(rights.values()) or status["NoNewPrivs"] != "1" or uid == "0":
        raise Wrong(f"{service}: uid {uid}, NoNewPrivs {status['NoNewPrivs']}, {rights}")
    tried = stack.run_in(service, "sh", "-c", "touch /written /opt/written /usr/bin/written 2>&1; true")
    if tried.count("Read-only file system") != 3:
        raise Wrong(f"{service}: wrote into its root: {tried}")
    return f"uid {uid}, no capability in any set, nothing can be written into /"


def run_alone(stack: Stack, role: str, name: str) -> None:
    """Start a role beside the stack, with its surroundings but without compose and its init."""
    environment = inspect(stack.containers(role)[0])["Config"]["Env"]
    docker(
        *(
            "run",
            "--detach",
            "--name",
            name,
            "--network",
            f"{stack.project}_database",
            "--volume",
            f"{stack.project}_keys:/var/lib/jobqueue:ro",
        ),
        *("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true"),
        *(word for value in environment for word in ("--env", value)),
        f"jobqueue-{role}",
    )
