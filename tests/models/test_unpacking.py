"""Archives give the files that are wanted, whatever else they hold and wherever they are cut."""

import gzip
import io
import tarfile

import numpy as np
import pytest
from archives import member, packed
from resprobe_models.datasets.unpack import unpack

from resprobe.errors import InputError


class TestUnpacking:
    WANTED = ("data/a.bin",)

    def unpacked(self, tmp_path, *members):
        archive, into = tmp_path / "x.tar.gz", tmp_path / "into"
        archive.write_bytes(packed(members))
        into.mkdir(exist_ok=True)
        unpack(archive, self.WANTED, into)
        return {
            str(path.relative_to(tmp_path)): path.read_bytes()
            for path in tmp_path.rglob("*")
            if path.is_file() and path != archive
        }

    def test_only_what_is_wanted_is_written(self, tmp_path):
        outside = tmp_path.parent / f"{tmp_path.name}-evil"
        hostile = [
            member("../evil", b"1"),
            member("data/../../evil", b"2"),
            member(str(outside), b"3"),
            member("data/link", kind=tarfile.SYMTYPE, link="/etc"),
            member("data/b.bin", b"not wanted"),
        ]
        found = self.unpacked(tmp_path, *hostile, member("./data/a.bin", b"good"))
        assert found == {"into/data/a.bin": b"good"}
        assert not outside.exists()

    @pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE])
    def test_a_wanted_name_that_is_no_file_is_not_followed(self, tmp_path, kind):
        (tmp_path / "secret").write_bytes(b"secret")
        with pytest.raises(InputError, match=r"lacks data/a\.bin"):
            self.unpacked(tmp_path, member("data/a.bin", kind=kind, link=str(tmp_path / "secret")))
        assert not (tmp_path / "into" / "data").exists()

    def test_a_name_that_comes_twice_is_written_once(self, tmp_path):
        twice = [member("data/a.bin", b"first"), member("data/a.bin", b"second")]
        assert self.unpacked(tmp_path, *twice)["into/data/a.bin"] == b"first"

    def test_damage_anywhere_ends_in_a_sentence(self, tmp_path):
        whole = packed([member("data/a.bin", np.random.default_rng(0).bytes(3000))])
        archive, into = tmp_path / "x.tar.gz", tmp_path / "into"
        for cut in range(0, len(whole) - 1100, 97):
            archive.write_bytes(whole[:cut])
            into.mkdir()
            with pytest.raises(InputError, match=r"is damaged|lacks data/a\.bin"):
                unpack(archive, self.WANTED, into)
            for path in sorted(tmp_path.rglob("into/**/*"), reverse=True):
                path.unlink() if path.is_file() else path.rmdir()
            into.rmdir()

    def test_a_plain_tar_is_taken_too(self, tmp_path):
        archive, into = tmp_path / "x.tar", tmp_path / "into"
        archive.write_bytes(gzip.GzipFile(fileobj=io.BytesIO(
            packed([member("data/a.bin", b"good")]))).read())  # fmt: skip
        unpack(archive, self.WANTED, into)
        assert (into / "data" / "a.bin").read_bytes() == b"good"
