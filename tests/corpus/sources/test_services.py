"""Each source against a service that answers as its pages say."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from loopback import RATE_HZ, Answer, Service, as_json, md5, sha256, sound

from biodenoising.corpus.manifest import Part, Row, write_manifest
from biodenoising.corpus.sources.archive_org import ArchiveOrg
from biodenoising.corpus.sources.catalogue import find_data_set, read_catalogue, sources_of
from biodenoising.corpus.sources.folder import Folder
from biodenoising.corpus.sources.inaturalist import INaturalist
from biodenoising.corpus.sources.url_manifest import UrlManifest, cut
from biodenoising.corpus.sources.xeno_canto import XenoCanto
from biodenoising.corpus.sources.zenodo import Zenodo
from biodenoising.errors import AudioReadError, CorpusError, OptionError


def recorded(number: int, **changes: Any) -> dict[str, Any]:
    """A recording as Xeno-canto lists it."""
    return {
        "id": str(number), "gen": "Hyla", "sp": "arborea", "grp": "frogs", "en": "Tree frog",
        "rec": "Ann Other", "cnt": "Spain", "type": "song", "q": "A", "length": "1:02",
        "file": f"//xeno-canto.org/{number}/download", "file-name": f"XC{number}-Hyla.mp3",
        "lic": "//creativecommons.org/licenses/by-nc-sa/4.0/", "smp": "44100", **changes,
    }  # fmt: skip


def pages(*recordings: list[dict[str, Any]]) -> Any:
    def answer(asked: Any) -> Answer:
        page = int(asked.query["page"])
        return as_json(
            {"numRecordings": "9", "numPages": len(recordings), "page": page,
             "recordings": recordings[page - 1]}
        )  # fmt: skip

    return answer


@pytest.fixture
def xeno_canto(service: Service, client) -> Any:
    def make(query: str = "gen:hyla", **options: Any) -> XenoCanto:
        address = service.address + "/api/3/recordings"
        return XenoCanto(query, key="SECRET", address=address, client=client, **options)

    return make


def test_xeno_canto_yields_all_pages_with_licence_and_author(service, xeno_canto) -> None:
    service.script("/api/3/recordings", pages([recorded(1), recorded(2)], [recorded(3)]))
    offers = list(xeno_canto().search())
    assert [offer.row.recording for offer in offers] == ["XC1", "XC2", "XC3"]
    row = offers[0].row
    assert row.path == "xeno-canto/XC1.mp3"
    assert (row.taxon, row.common, row.group) == ("Hyla arborea", "Tree frog", "frog")
    assert (row.licence, row.tier) == ("CC-BY-NC-SA-4.0", "noncommercial")
    assert row.attribution == "Ann Other, XC1, https://xeno-canto.org/1"
    assert row.url == "https://xeno-canto.org/1/download"
    assert (row.kind, row.stage, row.duration_s) == ("vocal", "recording", 62.0)
    assert [asked.query["page"] for asked in service.asked] == ["1", "2"]
    assert {asked.query["key"] for asked in service.asked} == {"SECRET"}
    assert {asked.query["query"] for asked in service.asked} == {"gen:hyla"}


def test_xeno_canto_pages_come_only_as_they_are_needed(service, xeno_canto) -> None:
    service.script("/api/3/recordings", pages([recorded(1)], [recorded(2)]))
    next(xeno_canto().search())
    assert len(service.asked) == 1


def test_xeno_canto_passes_filters_on_and_holds_them_itself(service, xeno_canto) -> None:
    listed = [
        recorded(1), recorded(2, q="C"), recorded(3, q="no score"), recorded(4, cnt="Peru"),
        recorded(5, length="3:00"), recorded(6, lic="//creativecommons.org/licenses/by/4.0/"),
        recorded(7, file=""), recorded(8, q="B"), recorded(9, length="garbage"),
    ]  # fmt: skip
    service.script("/api/3/recordings", pages(listed))
    source = xeno_canto(
        "gen:hyla type:song", quality="B", country="spain", length_s=(10, 120),
        licences=("cc-by-nc-sa",),
    )  # fmt: skip
    assert [offer.row.recording for offer in source.search()] == ["XC1", "XC8"]
    assert service.asked[0].query["query"] == ('gen:hyla type:song cnt:"spain" len:10-120 q:">C"')


def test_xeno_canto_soundscapes_and_foreign_formats(service, xeno_canto) -> None:
    listed = [
        recorded(1, gen="Sonus", sp="naturalis", grp="soundscape"),
        recorded(2, **{"file-name": "x.m4a"}),
        recorded(3, **{"file-name": "../../x y.WAV"}),
    ]
    service.script("/api/3/recordings", pages(listed))
    scape, unfit, odd = xeno_canto().search()
    assert (scape.row.kind, scape.row.taxon, scape.row.group) == ("soundscape", "", "none")
    assert ".m4a cannot be decoded" in unfit.unfit
    assert odd.row.path == "xeno-canto/XC3.wav"


def test_xeno_canto_without_a_key_asks_nobody(service, client, monkeypatch) -> None:
    monkeypatch.delenv("XENO_CANTO_KEY", raising=False)
    source = XenoCanto("gen:hyla", address=service.address, client=client)
    with pytest.raises(CorpusError, match="set XENO_CANTO_KEY"):
        next(source.search())
    assert service.asked == []
    service.script("/", pages([recorded(1)]))
    monkeypatch.setenv("XENO_CANTO_KEY", "FROM-ENVIRONMENT")
    source = replace(source, address=service.address + "/")
    assert next(source.search()).row.recording == "XC1"
    assert service.asked[0].query["key"] == "FROM-ENVIRONMENT"


def test_xeno_canto_refusals_are_said_in_its_words_without_the_key(service, xeno_canto) -> None:
    refusal = {"error": "client_error", "message": "Missing or invalid key"}
    service.script("/api/3/recordings", as_json(refusal, 401))
    with pytest.raises(CorpusError, match="Missing or invalid key") as error:
        next(xeno_canto().search())
    assert "SECRET" not in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_xeno_canto_waits_when_it_is_told_to(service, xeno_canto, waits) -> None:
    busy = Answer(429, headers={"Retry-After": "9"})
    service.script("/api/3/recordings", busy, pages([recorded(1)]))
    assert len(list(xeno_canto().search())) == 1
    assert waits.seconds == [9.0]


@pytest.mark.parametrize(
    "answer", [{}, [], {"recordings": 1, "numPages": 1}, {"recordings": [], "numPages": "many"},
               {"recordings": ["x"], "numPages": 1}, {"recordings": [{}], "numPages": 1}, "x", None]
)  # fmt: skip
def test_xeno_canto_answers_of_another_kind(service, xeno_canto, answer) -> None:
    service.script("/api/3/recordings", as_json(answer))
    with pytest.raises(CorpusError, match="answer"):
        list(xeno_canto().search())


def test_xeno_canto_refuses_senseless_options() -> None:
    with pytest.raises(OptionError, match="query is empty"):
        XenoCanto("  ")
    for quality in ("F", "AB", ""):
        with pytest.raises(OptionError, match="none of A, B"):
            XenoCanto("gen:hyla", quality=quality)


def test_xeno_canto_downloads_and_measures(service, xeno_canto, tmp_path) -> None:
    data = sound(0.25, format="MP3")
    url = service.file("/1/download", data)
    service.script("/api/3/recordings", pages([recorded(1, file=url)]))
    source = xeno_canto()
    (row,) = source.download(next(source.search()), tmp_path)
    assert (tmp_path / row.path).read_bytes() == data
    assert (row.sample_rate, row.original_format) == (RATE_HZ, "mp3")
    assert row.duration_s == pytest.approx(0.25, abs=0.15)
    assert row.sha256 == row.url_sha256 == sha256(data)


def record(service: Service, files: dict[str, bytes]) -> None:
    """A record as Zenodo shows it, with its files."""
    entries = [
        {
            "key": key,
            "size": len(data),
            "checksum": md5(data),
            "links": {"self": service.file(f"/api/records/7/files/{n}/content", data)},
        }
        for n, (key, data) in enumerate(files.items())
    ]
    metadata = {
        "title": "Gibbons", "license": {"id": "cc-by-4.0"}, "creators": [{"name": "Dufourq, E."}],
    }  # fmt: skip
    service.script("/api/records/7", as_json({"id": 7, "metadata": metadata, "files": entries}))


def zipped(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


@pytest.fixture
def zenodo(service: Service, client) -> Any:
    def make(**options: Any) -> Zenodo:
        return Zenodo(7, address=service.address + "/api/records", client=client, **options)

    return make


def test_zenodo_yields_files_with_checksums_licence_and_authors(service, zenodo) -> None:
    record(service, {"a b.wav": sound(), "labels.csv": b"x", "paper.pdf": b"%PDF"})
    like = Row(path="", kind="soundscape", group="primate", medium="air", taxon="Nomascus")
    first, second = zenodo(like=like).search()
    assert first.row.path == "zenodo/7/a_b.wav"
    assert first.checksum == md5(sound())
    assert first.size == len(sound())
    assert (first.row.licence, first.row.tier) == ("CC-BY-4.0", "open")
    assert first.row.attribution == "Dufourq, E., Gibbons, https://zenodo.org/records/7"
    assert (first.row.kind, first.row.taxon) == ("soundscape", "Nomascus")
    assert second.row.path == "zenodo/7/labels.csv"
    (only,) = zenodo(include=("*.pdf",)).search()
    assert only.row.path == "zenodo/7/paper.pdf"


def test_zenodo_archives_are_unpacked_and_then_deleted(service, zenodo, tmp_path) -> None:
    archive = zipped(
        {
            "set/one.wav": sound(0.2, seed=1), "set/one.svl": b"<sv/>", "set/two.flac":
            sound(0.3, seed=2, format="FLAC"), "set/bad.wav": b"no sound", "set/read.me": b"x",
            "__MACOSX/set/._one.wav": b"x",
        }
    )  # fmt: skip
    record(service, {"Part 1.zip": archive})
    source = zenodo()
    rows = source.download(next(source.search()), tmp_path)
    good = [row for row in rows if not row.rejected]
    assert [row.path for row in good] == [
        "zenodo/7/Part_1/set/one.wav", "zenodo/7/Part_1/set/two.flac",
    ]  # fmt: skip
    assert [row.duration_s for row in good] == [0.2, 0.3]
    assert {row.url_sha256 for row in rows} == {sha256(archive)}
    assert good[0].member == "set/one.wav"
    assert good[0].recording == "zenodo7/Part 1.zip/set/one.wav"
    (bad,) = [row for row in rows if row.rejected]
    assert bad.member == "set/bad.wav"
    here = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file())
    assert here == [
        "zenodo/7/Part_1/set/bad.wav", "zenodo/7/Part_1/set/one.svl",
        "zenodo/7/Part_1/set/one.wav", "zenodo/7/Part_1/set/two.flac",
    ]  # fmt: skip


def test_zenodo_a_wrong_checksum_leaves_nothing(service, zenodo, tmp_path) -> None:
    record(service, {"a.wav": sound()})
    source = zenodo()
    offer = replace(next(source.search()), checksum=f"md5:{'0' * 32}")
    with pytest.raises(CorpusError, match="not those that were promised"):
        source.download(offer, tmp_path)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_zenodo_a_hostile_archive_writes_nothing(service, zenodo, tmp_path) -> None:
    record(service, {"a.zip": zipped({"good.wav": sound(), "../../evil.wav": sound()})})
    source = zenodo()
    with pytest.raises(CorpusError, match="leads out"):
        source.download(next(source.search()), tmp_path / "out")
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["a.zip"]


@pytest.mark.parametrize("name", ["a.tar.gz", "a.7z", "a.z01", "a.rar"])
def test_zenodo_other_archives_are_refused_before_they_are_fetched(
    service, zenodo, tmp_path, name
) -> None:
    record(service, {name: b"x"})
    source = zenodo()
    offer = next(source.search())
    service.asked.clear()
    with pytest.raises(CorpusError, match="only whole zip archives"):
        source.download(offer, tmp_path)
    assert service.asked == []


def test_zenodo_records_that_are_not_there_or_not_open(service, zenodo, client) -> None:
    with pytest.raises(CorpusError, match="404"):
        next(zenodo().search())
    record(service, {})
    with pytest.raises(CorpusError, match="may be restricted"):
        next(zenodo().search())
    for answer in ([], {"metadata": 1, "files": [1]}, {"files": []}):
        service.script("/api/records/7", as_json(answer))
        with pytest.raises(CorpusError, match="answer has no"):
            next(zenodo().search())
    with pytest.raises(OptionError):
        Zenodo(0)


def test_archive_org_yields_originals_only(service, client, tmp_path) -> None:
    data = sound(format="FLAC")
    files = [
        {"name": "deep/a b.flac", "source": "original", "md5": md5(data)[4:],
         "size": str(len(data))},
        {"name": "a.mp3", "source": "derivative"},
        {"name": "x_meta.xml", "source": "metadata"},
    ]  # fmt: skip
    metadata = {
        "title": "Otters", "creator": "A. Nother",
        "licenseurl": "http://creativecommons.org/licenses/by/4.0/",
    }  # fmt: skip
    service.script("/metadata/otters", as_json({"files": files, "metadata": metadata}))
    service.file("/download/otters/deep/a%20b.flac", data)
    source = ArchiveOrg("otters", address=service.address, client=client)
    (offer,) = source.search()
    assert offer.row.attribution == "A. Nother, Otters, https://archive.org/details/otters"
    assert (offer.row.licence, offer.row.tier) == ("CC-BY-4.0", "open")
    (row,) = source.download(offer, tmp_path)
    assert row.path == "archive.org/otters/deep/a_b.flac"
    assert (tmp_path / row.path).read_bytes() == data
    service.script("/metadata/otters", as_json({}))
    with pytest.raises(CorpusError, match="no such item"):
        next(source.search())
    with pytest.raises(OptionError):
        ArchiveOrg("../x")


def observed(number: int, *sounds: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """An observation as iNaturalist shows it."""
    return {
        "id": number, "quality_grade": "research", "sounds": list(sounds),
        "taxon": {"name": "Hyla arborea", "preferred_common_name": "Tree Frog",
                  "iconic_taxon_name": "Amphibia"}, **changes,
    }  # fmt: skip


def heard(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": number, "license_code": "cc-by", "file_content_type": "audio/mpeg", "hidden": False,
        "file_url": f"https://static.inaturalist.org/sounds/{number}.mp3?17",
        "attribution": "(c) Ann Other, some rights reserved (CC BY)", **changes,
    }  # fmt: skip


@pytest.fixture
def inaturalist(service: Service, client) -> Any:
    def make(observations: list[Any], **options: Any) -> INaturalist:
        per_page = 2

        def answer(asked: Any) -> Answer:
            later = [o for o in observations if o["id"] > int(asked.query["id_above"])]
            return as_json({"total_results": len(later), "results": later[:per_page]})

        address = service.script("/v1/observations", answer)
        options = {"per_page": per_page, "address": address, "client": client, **options}
        return INaturalist("Hyla arborea", **options)

    return make


def test_inaturalist_yields_the_sounds_of_all_pages(service, inaturalist) -> None:
    made = [observed(n, heard(10 * n)) for n in (1, 2, 3)]
    made[0]["sounds"].append(heard(11, file_url="https://x.org/11", file_content_type="audio/wav"))
    offers = list(inaturalist(made).search())
    assert [offer.row.path for offer in offers] == [
        "inaturalist/1_10.mp3", "inaturalist/1_11.wav", "inaturalist/2_20.mp3",
        "inaturalist/3_30.mp3",
    ]  # fmt: skip
    row = offers[0].row
    assert (row.taxon, row.common, row.group) == ("Hyla arborea", "Tree Frog", "frog")
    assert (row.licence, row.tier, row.quality) == ("CC-BY", "open", "research")
    assert row.attribution.endswith("(CC BY), https://www.inaturalist.org/observations/1")
    assert offers[0].row.recording == offers[1].row.recording == "iNat1"
    assert [asked.query["id_above"] for asked in service.asked] == ["0", "2", "3"]
    assert service.asked[0].query["sounds"] == "true"
    assert service.asked[0].query["sound_license"] == "cc0,cc-by,cc-by-sa,cc-by-nc,cc-by-nc-sa"


def test_inaturalist_offers_only_what_its_own_licence_allows(inaturalist) -> None:
    sounds = [
        heard(1, license_code=None), heard(2, license_code="cc-by-nc-nd"), heard(3, hidden=True),
        heard(4, file_url=None), heard(5, license_code="cc0"), heard(6, file_url="https://x/6.m4a"),
    ]  # fmt: skip
    offers = list(inaturalist([observed(1, *sounds)]).search())
    assert [offer.row.path for offer in offers] == ["inaturalist/1_5.mp3", "inaturalist/1_6.m4a"]
    assert [bool(offer.unfit) for offer in offers] == [False, True]
    chosen = list(inaturalist([observed(1, *sounds)], licences=("cc-by-nc-nd",)).search())
    assert [offer.row.tier for offer in chosen] == ["noncommercial"]


def test_inaturalist_answers_of_another_kind(service, inaturalist) -> None:
    odd = [observed(1, taxon=None, sounds=None), observed(2, taxon="x"), {"id": 3, "sounds": ["x"]}]
    assert list(inaturalist(odd).search()) == []
    source = inaturalist([])
    for answer in ({}, {"results": 3}, {"results": [{}]}, {"results": [{"id": "x"}]}):
        service.script("/v1/observations", as_json(answer))
        with pytest.raises(CorpusError, match=r"answer|number"):
            list(source.search())
    service.script("/v1/observations", as_json({"results": [observed(1)]}))
    with pytest.raises(CorpusError, match="same page"):
        list(source.search())


def test_inaturalist_refuses_senseless_options() -> None:
    with pytest.raises(OptionError, match="taxon is empty"):
        INaturalist("")
    with pytest.raises(OptionError, match="cc-by-xx"):
        INaturalist("Hyla", licences=("cc-by-xx",))
    with pytest.raises(OptionError, match="grade"):
        INaturalist("Hyla", grade="best")


def test_a_folder_is_listed_with_its_annotations(tmp_path) -> None:
    root = tmp_path / "in"
    for name, data in {
        "b.wav": sound(0.1), "a/x.flac": sound(0.2, format="FLAC"), "b.Table.1.selections.txt": b"",
        "a/x.txt": b"0\t1\tcall", "notes.txt": b"", ".hidden/c.wav": sound(), "a/.d.wav": sound(),
        "bad.wav": b"no sound", "b.wave.png": b"",
    }.items():  # fmt: skip
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (root / "link.wav").symlink_to(root / "b.wav")
    source = Folder(root, "CC-BY-4.0", Row(path="", kind="vocal", group="frog"))
    offers = {offer.row.path: offer for offer in source.search()}
    assert list(offers) == ["b.wav", "bad.wav", "a/x.flac"]
    assert offers["b.wav"].row.annotation == "b.Table.1.selections.txt"
    assert offers["a/x.flac"].row.annotation == "a/x.txt"
    assert (offers["b.wav"].row.tier, offers["b.wav"].row.group) == ("open", "frog")
    before = {path: path.read_bytes() for path in root.rglob("*.*") if path.is_file()}
    (row,) = source.download(offers["a/x.flac"], tmp_path / "out")
    assert (tmp_path / "out/a/x.flac").read_bytes() == (root / "a/x.flac").read_bytes()
    assert (tmp_path / "out/a/x.txt").read_bytes() == b"0\t1\tcall"
    assert (row.duration_s, row.sample_rate) == (0.2, RATE_HZ)
    assert row.recording == row.sha256[:16]
    with pytest.raises(AudioReadError):
        source.download(offers["bad.wav"], tmp_path / "out")
    assert not (tmp_path / "out/bad.wav").exists()
    assert before == {path: path.read_bytes() for path in root.rglob("*.*") if path.is_file()}
    with pytest.raises(OptionError, match="no folder"):
        Folder(tmp_path / "none")


def test_a_folder_can_be_listed_where_it_is(tmp_path) -> None:
    (tmp_path / "x.wav").write_bytes(sound())
    inode = (tmp_path / "x.wav").stat().st_ino
    source = Folder(tmp_path)
    (row,) = source.download(next(source.search()), tmp_path)
    assert (row.path, row.tier, row.licence) == ("x.wav", "unclear", "none stated")
    assert (tmp_path / "x.wav").stat().st_ino == inode


def clip_row(url: str, data: bytes, **changes: Any) -> Row:
    row = Row(
        path="train/vocal/x_0.ogg", kind="vocal", set="train", sample_rate=RATE_HZ, start_s=0.5,
        duration_s=0.25, gain_db=-6.0, url=url, url_sha256=sha256(data), sha256="0" * 64,
        original_format="wav", recording="r1", licence="CC0-1.0", tier="open",
    )  # fmt: skip
    return replace(row, **changes)


def stereo(seconds: float = 1.0, seed: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    quiet, loud = rng.uniform(-0.1, 0.1, (2, round(seconds * RATE_HZ)))
    return np.stack([quiet + 0.5, 4 * loud + 0.1], axis=1)


def written(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE_HZ, format="WAV", subtype="FLOAT")
    return file.getvalue()


def by_the_rule(samples: np.ndarray, row: Row) -> np.ndarray:
    """The corpus's rule, as its description says it."""
    channel = samples[:, np.argmax(samples.std(axis=0))]
    start, length = round(row.start_s * row.sample_rate), round(row.duration_s * row.sample_rate)
    piece = (channel - channel.mean())[start : start + length]
    return (piece - piece.mean()) * 10 ** (row.gain_db / 20)


def test_a_manifest_gives_recordings_and_clips_again(service, client, tmp_path) -> None:
    data = written(stereo())
    url = service.file("/x.wav", data)
    clips = [clip_row(url, data), clip_row(url, data, path="train/vocal/x_1.ogg", start_s=0.0)]
    whole = Row(path="whole.wav", kind="noise", stage="recording", url=url, url_sha256=sha256(data))
    write_manifest(tmp_path / "m.jsonl", [*clips, whole])
    source = UrlManifest(tmp_path / "m.jsonl", client=client)
    offers = list(source.search())
    rows = [row for offer in offers for row in source.download(offer, tmp_path / "out")]
    assert [row.path for row in rows] == [
        "train/vocal/x_0.flac",
        "train/vocal/x_1.flac",
        "whole.wav",
    ]
    for row, clip in zip(rows, clips, strict=False):
        made, rate = soundfile.read(tmp_path / "out" / row.path)
        assert rate == RATE_HZ
        assert np.abs(made - by_the_rule(stereo(), clip)).max() < 2**-22
        assert row.sha256 == sha256((tmp_path / "out" / row.path).read_bytes())
        assert (row.start_s, row.recording, row.licence) == (clip.start_s, "r1", "CC0-1.0")
    assert (tmp_path / "out/whole.wav").read_bytes() == data
    # One original for both clips, and one for the recording that lies elsewhere.
    assert len(service.asked) == 2


def test_a_clip_of_joined_parts(service, client, tmp_path) -> None:
    pieces = [stereo(0.4, seed) for seed in (1, 2, 3)]
    parts = []
    for number, piece in enumerate(pieces):
        data = written(piece)
        parts.append(Part(service.file(f"/{number}.wav", data), sha256(data)))
    row = clip_row(parts[0].url, b"", parts=tuple(parts), start_s=0.3, duration_s=0.8)
    write_manifest(tmp_path / "m.jsonl", [row])
    source = UrlManifest(tmp_path / "m.jsonl", client=client)
    (made,) = source.download(next(source.search()), tmp_path)
    samples, _ = soundfile.read(tmp_path / made.path)
    assert np.abs(samples - by_the_rule(np.concatenate(pieces), row)).max() < 2**-22


def test_a_clip_at_a_rate_that_flac_cannot_hold_is_a_wav(service, client, tmp_path) -> None:
    data = written(stereo())
    row = clip_row(
        service.file("/x.wav", data), data, sample_rate=960_000, time_expansion=60.0,
        start_s=0.001, duration_s=0.01,
    )  # fmt: skip
    write_manifest(tmp_path / "m.jsonl", [row])
    source = UrlManifest(tmp_path / "m.jsonl", client=client)
    (made,) = source.download(next(source.search()), tmp_path)
    samples, rate = soundfile.read(tmp_path / made.path)
    assert (Path(made.path).suffix, rate, len(samples)) == (".wav", 960_000, 9_600)
    assert np.allclose(samples, by_the_rule(stereo(), row), atol=1e-6)


def test_rows_that_cannot_be_had_are_said_to_be_unfit(tmp_path) -> None:
    good = clip_row("https://example.org/x.wav", b"")
    rows = [
        good, replace(good, path="1.ogg", url=""), replace(good, path="2.ogg", member="a.wav"),
        replace(good, path="3.ogg", original_format="rda->wav"),
        replace(good, path="4.ogg", sample_rate=0),
        replace(good, path="5.m4a", stage="recording"),
    ]  # fmt: skip
    write_manifest(tmp_path / "m.jsonl", rows)
    assert [bool(o.unfit) for o in UrlManifest(tmp_path / "m.jsonl").search()] == [False] + 5 * [
        True
    ]
    assert len(list(UrlManifest(tmp_path / "m.jsonl", sets=("train",)).search())) == 6
    assert list(UrlManifest(tmp_path / "m.jsonl", sets=("benchmark",)).search()) == []
    assert list(UrlManifest(tmp_path / "m.jsonl", kinds=("noise",)).search()) == []


def test_originals_that_end_early_or_do_not_fit_together(tmp_path) -> None:
    (tmp_path / "a.wav").write_bytes(written(stereo(0.6)))
    (tmp_path / "b.wav").write_bytes(sound())
    row = clip_row("https://example.org/x.wav", b"")
    with pytest.raises(CorpusError, match=r"ends 0\.15 s before"):
        cut([tmp_path / "a.wav"], row)
    with pytest.raises(CorpusError, match="differ from the other parts'"):
        cut([tmp_path / "a.wav", tmp_path / "b.wav"], row)


def test_the_catalogue_lists_the_papers_data_sets(client) -> None:
    sets = read_catalogue()
    assert len(sets) >= 45
    assert len(sets) == len({one.title for one in sets.values()})
    assert sets["hainan-gibbon"].records == (7997739,)
    for one in sets.values():
        assert one.kind in ("vocal", "noise", "soundscape"), one.name
        assert one.medium in ("air", "water", ""), one.name
        assert one.licence, one.name
        assert one.page or one.access == "private", one.name
        assert one.source != "zenodo" or one.records, one.name
    # The paper's own hours of calls, from its table.
    named = ("hainan-gibbon", "geladas", "watkins", "asa-berlin", "xeno-canto-labelled")
    assert sum(sets[name].hours or 0 for name in named) == pytest.approx(20.18)
    reachable = [one for one in sets.values() if one.fetchable]
    assert len(reachable) > 25
    for one in reachable:
        for source in sources_of(one, client):
            assert source.name in ("zenodo", "archive.org")


def test_data_sets_that_are_not_there_or_not_to_be_fetched(client) -> None:
    with pytest.raises(CorpusError, match="nearest is 'hainan-gibbon'"):
        find_data_set("gibbon")
    with pytest.raises(CorpusError, match="access is private"):
        sources_of(find_data_set("geladas"), client)
    with pytest.raises(CorpusError, match="zip -s 0"):
        sources_of(find_data_set("fsd50k"), client)


def test_the_catalogue_is_plain_json_lines() -> None:
    from biodenoising.corpus.sources.catalogue import CATALOGUE

    lines = CATALOGUE.read_text("utf-8").splitlines()
    names = [json.loads(line)["name"] for line in lines]
    assert len(names) == len(set(names))
