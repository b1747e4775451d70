"""Folders on another host by SFTP: fsspec's client, but only for hosts that are known.

fsspec's own trusts whatever key it is shown, and does not follow links while listing.
Needs the extra `sftp`.
"""

from __future__ import annotations

from typing import Any

import paramiko
from fsspec.implementations.sftp import SFTPFileSystem


class OnlyKnownHosts(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]
    """Turns down hosts that ssh would ask about."""

    def missing_host_key(self, client: Any, hostname: str, key: Any) -> None:
        """Raise PermissionError."""
        raise PermissionError(
            f"{hostname} is not among the known hosts; connect to it once with ssh"
        )


class KnownHostSystem(SFTPFileSystem):  # type: ignore[misc]
    """The files of a host whose key is in ~/.ssh/known_hosts."""

    def _connect(self) -> None:
        self.client = paramiko.SSHClient()
        self.client.load_system_host_keys()
        self.client.set_missing_host_key_policy(OnlyKnownHosts())
        self.client.connect(self.host, **self.ssh_kwargs)
        self.ftp = self.client.open_sftp()

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        """Return what is known of a file, or of what a link leads to."""
        found: dict[str, Any] = super().info(path)
        return found

    def ls(self, path: str, detail: bool = True, **options: Any) -> list[Any]:
        """List a folder; links to files count as these, those to nowhere are left out."""
        entries = []
        for entry in super().ls(path, detail=True):
            if entry["type"] == "link":
                try:
                    entry = {**self.info(entry["name"]), "linked": True}
                except OSError:
                    continue
            entries.append(entry)
        return entries if detail else [entry["name"] for entry in entries]
