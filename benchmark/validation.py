"""The paper's own mixtures: `biodenoising_validation_1.0.zip` of Zenodo 13736465.

Layout, per rate R in {16000, 48000}: `R/` (one noise a call), `R_large/` (every call with every
noise of its medium) and `R_snr_experiments/{-5,0,5,10}/`; each holds `clean/`, `noisy/`, `noise/`
with files `<index>_<type>.wav`, and `metadata.csv`, whose header begins with "# ".

Its maker rescaled only the mixture where it clipped, so there the files' noise is not what was
added: noise is taken as noisy - clean, which is exact in every file.
"""

from __future__ import annotations

import csv
import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.clips import read_audio
from benchmark.mixtures import Mixture, Plan
from benchmark.sets import Settings, Unreachable
from biodenoising import AudioReadError, AudioValueError, BiodenoisingError

ZIP_MD5 = "05648b477b73f0e71cf98441a98630ef"
ZIP_NAME = "biodenoising_validation_1.0.zip"
RATES = (16_000, 48_000)
SNR_FOLDERS = ("-5", "0", "5", "10")


@dataclass(frozen=True)
class ValidationSet:
    """All three protocols at both rates, as far as their folders are there."""

    root: Path
    description: str = "the paper's set: 62 pairs, all pairs, and four fixed SNRs, 16 and 48 kHz"

    def plans(self) -> list[Plan]:
        """Read the metadata of every protocol folder that exists."""
        made = [plan for folder in _protocols() for plan in self._folder_plans(folder)]
        if not made:
            raise Unreachable(f"{self.root} holds none of the folders {', '.join(_protocols())}")
        return made

    def _folder_plans(self, folder: str) -> list[Plan]:
        table = self.root / folder / "metadata.csv"
        if not table.is_file():
            return []
        with table.open(newline="", encoding="utf-8") as lines:
            rows = [
                {key.lstrip("# ").strip(): value.strip() for key, value in row.items()}
                for row in csv.DictReader(lines)
            ]
        try:
            return [_plan(folder, row) for row in rows]
        except (KeyError, ValueError) as error:
            raise BiodenoisingError(f"{table} has not the documented columns: {error}") from error

    def load(self, plan: Plan) -> Mixture:
        """Read the pair of files; lengths or rates that differ raise."""
        folder, filename = plan.mixture.rsplit("/", 1)
        clean, clean_rate = read_audio(self.root / folder / "clean" / filename)
        noisy, noisy_rate = read_audio(self.root / folder / "noisy" / filename)
        if clean_rate != noisy_rate or clean_rate != plan.sample_rate:
            raise AudioReadError(
                f"{plan.mixture}: clean at {clean_rate} Hz, noisy at {noisy_rate} Hz, "
                f"metadata says {plan.sample_rate} Hz"
            )
        if clean.shape != noisy.shape:
            raise AudioReadError(
                f"{plan.mixture}: clean has shape {clean.shape}, noisy {noisy.shape}"
            )
        if not np.any(clean):
            raise AudioValueError(f"{plan.mixture}: the reference is silent")
        call, mixed = clean[:, 0].astype(np.float32), noisy[:, 0].astype(np.float32)
        return Mixture(mixed, call, mixed - call, plan.sample_rate)


def validation_set(settings: Settings) -> ValidationSet:
    """Return the set from a folder or from the downloaded zip, whose MD5 is checked."""
    where = settings.validation
    if where is None:
        raise Unreachable(
            f"needs --validation with {ZIP_NAME} of https://zenodo.org/records/13736465 "
            "or the folder it was unpacked to"
        )
    if where.is_dir():
        return ValidationSet(where)
    if not where.is_file():
        raise Unreachable(f"{where} does not exist")
    return ValidationSet(_unpacked(where, settings.cache / "validation"))


def _unpacked(archive: Path, target: Path) -> Path:
    done = target / ".completed"
    if not done.exists():
        if _md5(archive) != ZIP_MD5:
            raise BiodenoisingError(f"{archive} is not {ZIP_NAME}: its MD5 differs")
        with zipfile.ZipFile(archive) as members:
            for name in members.namelist():
                if not (target / name).resolve().is_relative_to(target.resolve()):
                    raise BiodenoisingError(f"{archive} holds a path outside itself: {name}")
            members.extractall(target)
        done.touch()
    inner = [folder for folder in target.iterdir() if (folder / "16000").is_dir()]
    return inner[0] if inner else target


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _protocols() -> list[str]:
    names = []
    for rate in RATES:
        names += [f"{rate}", f"{rate}_large"]
        names += [f"{rate}_snr_experiments/{snr}" for snr in SNR_FOLDERS]
    return names


def _plan(folder: str, row: dict[str, str]) -> Plan:
    return Plan(
        set="biodenoising-validation",
        mixture=f"{folder}/{row['filename']}",
        clip=row["clean_filename"],
        noise=row["noise_filename"],
        snr_db=round(float(row["snr"]), 2),
        group=folder,
        taxon="",
        noise_type=row["type"],
        sample_rate=int(float(row["sample_rate"])),
    )
