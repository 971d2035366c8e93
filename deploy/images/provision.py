"""Install tritonserver and Envoy, with commands of these names that need no environment."""

import shlex
from pathlib import Path

from embedded.provision import provision, provision_envoy

SERVERS = Path("/opt/servers")
BIN = SERVERS / "bin"
SET = ("CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "PATH")


def main() -> None:
    BIN.mkdir(parents=True)
    triton = provision(SERVERS / "triton", print)
    envoy = provision_envoy(SERVERS / "envoy", print)
    for home in SERVERS.iterdir():
        # Made for who installs; here others run what is in it.
        home.chmod(0o755)
    environment = triton.environment()
    exports = [f"export {name}={shlex.quote(environment[name])}" for name in SET]
    command = f'exec {triton.tritonserver} --backend-directory={triton.backend_directory} "$@"'
    launcher = BIN / "tritonserver"
    launcher.write_text("\n".join(["#!/bin/sh", *exports, command, ""]))
    launcher.chmod(0o755)
    (BIN / "envoy").symlink_to(envoy)


if __name__ == "__main__":
    main()
