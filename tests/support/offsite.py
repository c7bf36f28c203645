"""An estate with a primary repository in a folder, and its copy in a bucket, under another account, at another site."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.buckets import Account, S3Server
from tests.support.estate import PASSWORD, Estate, make_estate
from tests.support.weak_key import weakened

VAULT_PASSWORD = "vault-battery-staple-correct-horse"
PREFIX = "restic"


@dataclass(slots=True)
class Offsite:
    """`estate` declares it all; `server` holds the copy in `bucket`, and `kit` is where the kit is kept."""

    estate: Estate
    server: S3Server
    bucket: str
    kit: Path

    @property
    def root(self) -> Path:
        return self.estate.root

    @property
    def location(self) -> str:
        return f"s3:{self.server.endpoint}/{self.bucket}/{PREFIX}"

    @property
    def vault(self) -> dict[str, Any]:
        """How the copy is declared."""
        found: dict[str, Any] = self.estate.estate["repositories"][1]
        return found

    def restic(self, *arguments: str, source: bool = False) -> str:
        """On the copy; `source` gives the primary as `--from-repo`."""
        environment = {
            **os.environ,
            "RESTIC_PASSWORD": VAULT_PASSWORD,
            "AWS_ACCESS_KEY_ID": self.server.owner.access_key,
            "AWS_SECRET_ACCESS_KEY": self.server.owner.secret_key,
            "RESTIC_FROM_PASSWORD_FILE": str(self.root / "password"),
        }
        primary = ["--from-repo", str(self.root / "repository")] if source else []
        argv = [self.estate.restic, "--repo", self.location, "--no-cache", "--quiet", *arguments, *primary]
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"restic {arguments[0]}: {done.stderr}")
        return done.stdout

    def copy(self) -> None:
        """Brings the copy up to date."""
        self.restic("copy", source=True)

    @property
    def secrets(self) -> list[str]:
        return [PASSWORD, VAULT_PASSWORD, self.server.owner.access_key, self.server.owner.secret_key]


def make_offsite(
    root: Path,
    server: S3Server,
    bucket: str | None = None,
    reader: Account | None = None,
    writer: Account | None = None,
) -> Offsite:
    """All is well: the copy is complete, the declarations are written. The kit is not."""
    estate = make_estate(root / "project")
    made = Offsite(estate, server, bucket or server.bucket(), root / "elsewhere" / "kit")
    _secrets(estate.root, reader or server.owner, writer or server.owner)
    _declare(made)
    estate.write()
    made.restic("init", "--copy-chunker-params", source=True)
    _weaken(made)
    made.copy()
    return made


def _weaken(made: Offsite) -> None:
    """See `weak_key`; in a bucket."""
    client, keys = made.server.client(), f"{PREFIX}/keys/"
    [listed] = client.list_objects_v2(Bucket=made.bucket, Prefix=keys)["Contents"]
    told = client.get_object(Bucket=made.bucket, Key=listed["Key"])["Body"].read()
    name, data = weakened(told, VAULT_PASSWORD)
    client.put_object(Bucket=made.bucket, Key=keys + name, Body=data)
    client.delete_object(Bucket=made.bucket, Key=listed["Key"])


def _secrets(root: Path, reader: Account, writer: Account) -> None:
    values = {
        "vault-password": VAULT_PASSWORD,
        "escrow": VAULT_PASSWORD,
        "escrow-id": reader.access_key,
        "escrow-key": reader.secret_key,
        "key-id": reader.access_key,
        "secret-key": reader.secret_key,
        "writer-key-id": writer.access_key,
        "writer-secret-key": writer.secret_key,
    }
    for name, value in values.items():
        (root / name).write_text(value)
        (root / name).chmod(0o600)


def _declare(made: Offsite) -> None:
    estate = made.estate
    estate.estate |= {
        "sites": [
            {"id": "school", "name": "School", "kind": "production"},
            {"id": "vault-town", "name": "Another town", "kind": "offsite"},
        ],
        "people": [
            {"id": "anna", "name": "Anna de Boer", "phone": "+31 6 1111", "deputy": "bram", "roles": ["board"]},
            {"id": "bram", "name": "Bram Visser", "phone": "+31 6 2222"},
        ],
        "hosts": [{"id": "local", "site": "school"}],
        "stores": [
            {
                "id": "vault-bucket",
                "endpoint": made.server.endpoint,
                "bucket": made.bucket,
                "reader": {"access_key": "file:key-id", "secret_key": "file:secret-key"},
                "writer": {"access_key": "file:writer-key-id", "secret_key": "file:writer-secret-key"},
                "site": "vault-town",
                "provider": "bunker",
                "account": "backup-only",
                "prices": {"per_gib_out": 0.09, "per_1000_reads": 0.0004, "per_1000_writes": 0.005},
            }
        ],
        "kit": {
            "copies": [{"path": str(made.kit), "site": "vault-town"}],
            "keys": [
                {
                    "repository": "vault",
                    "kept": "Envelope at the notary in Almere",
                    "holders": ["anna", "bram"],
                    "password": "file:escrow",
                    "environment": {
                        "AWS_ACCESS_KEY_ID": "file:escrow-id",
                        "AWS_SECRET_ACCESS_KEY": "file:escrow-key",
                    },
                },
                {"repository": "nas", "kept": "Safe of the school"},
            ],
        },
    }
    estate.estate["repositories"] = [
        {
            "id": "nas",
            "location": "repository",
            "password": "file:password",
            "site": "school",
            "provider": "own",
            "account": "school-admin",
            "media": "disk",
        },
        {
            "id": "vault",
            "location": made.location,
            "password": "file:vault-password",
            "environment": {
                "AWS_ACCESS_KEY_ID": "file:key-id",
                "AWS_SECRET_ACCESS_KEY": "file:secret-key",
                "AWS_DEFAULT_REGION": "plain:us-east-1",
            },
            "offsite": True,
            "copy_of": "nas",
            "store": "vault-bucket",
        },
    ]
    backup = {"interval": "24h", "duration": "10m", "snapshots": {"tags": ["app"]}, "window": "3d"}
    estate.systems["app"]["backups"] = [
        {**backup, "id": "daily", "repository": "nas"},
        {**backup, "id": "offsite", "repository": "vault", "transfer": "0s", "duration": "0s"},
    ]
