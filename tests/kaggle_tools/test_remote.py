"""Files on object storage: read in ranges, written whole or not at all, problems told; against a local S3 server."""

import io
import random
import sys
from concurrent.futures import ThreadPoolExecutor

import polars as pl
import pytest

from kaggle_tools.errors import UserError
from kaggle_tools.files import file_digest, write_atomically
from kaggle_tools.remote import RemoteFile, access, bucket, place, reader, shared_place
from kaggle_tools.tables import ShardReader, expand_inputs, index_file, read_table, sniff_format
from tests.kaggle_tools.tables.helpers import compress
from tests.object_storage import KEYS, error, failing, forget_connections, serve

TABLE = "id,text\n" + "".join(f'r{i},"line {i}\nof ""{i * 7919 % 97}"""\n' for i in range(400))


@pytest.fixture(scope="module")
def storage():
    with serve() as found:
        yield found


@pytest.fixture(autouse=True)
def calm(storage):
    storage.answer = None
    storage.requests.clear()
    yield
    storage.answer = None


def put(key, content):
    file = place(f"s3://bucket/{key}")
    file.write_bytes(content)
    return file


@pytest.mark.parametrize("ahead", [False, True])
def test_any_seek_and_read_gives_what_a_file_gives(ahead, monkeypatch):
    monkeypatch.setattr(reader, "_BLOCK_BYTES", 700)
    content = random.Random(1).randbytes(5_000)
    draw, oracle = random.Random(2), io.BytesIO(content)
    with put("bytes", content).open(ahead=ahead) as file:
        for _ in range(60):
            if draw.random() < 0.4:
                where = draw.choice([(draw.randrange(6_000), 0), (-draw.randrange(5_000), 2)])
                assert file.seek(*where) == oracle.seek(*where)
            size = draw.choice([0, 1, 64, 699, 1_500, -1])
            assert file.read(size) == oracle.read(size)
            assert file.tell() == oracle.tell()


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "csv.zst", "csv.zip", "jsonl", "parquet"])
def test_a_table_is_the_same_as_on_disk(tmp_path, kind):
    local = tmp_path / f"t.{kind}"
    frame = pl.read_csv(io.StringIO(TABLE))
    if kind == "parquet":
        frame.write_parquet(local, row_group_size=64)
    elif kind == "jsonl":
        frame.write_ndjson(local)
    else:
        local.write_bytes(compress(TABLE.encode(), {"csv.gz": "gzip", "csv.zst": "zstd", "csv.zip": "zip"}.get(kind)))
    remote = put(f"t.{kind}", local.read_bytes())
    assert sniff_format(remote) == sniff_format(local)
    found, expected = (index_file(path, sniff_format(path), shard_rows=50) for path in (remote, local))
    assert [(s.first_row, s.n_rows, s.start, s.end, s.crc32) for s in found.shards] == [
        (s.first_row, s.n_rows, s.start, s.end, s.crc32) for s in expected.shards
    ]
    assert read_table(remote).equals(read_table(local))
    with ShardReader(found.fmt, ["text"], id_column=None) as shards:  # in any order, as workers do
        last, first = (shards.read(found.shards[i]).frame["text"] for i in (-1, 0))
    assert last.to_list() == frame["text"][-len(last) :].to_list()
    assert first.to_list() == frame["text"][: len(first)].to_list()


def test_a_worker_asks_for_the_bytes_of_its_shards_alone(storage):
    remote = put("big.csv", TABLE.encode())
    index = index_file(remote, sniff_format(remote), shard_rows=50)
    with ShardReader(index.fmt, ["text"], id_column=None) as shards:
        shards.read(index.shards[1])
        storage.requests.clear()
        shards.read(index.shards[3])
        shards.read(index.shards[5])
    asked = sum(index.shards[i].end - index.shards[i].start for i in (3, 5))
    assert storage.bytes_read("/bucket/big.csv") == asked
    assert len(storage.requests) == 2


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_an_object_that_is_replaced_while_it_is_read_is_noticed(kind, tmp_path):
    content = {"csv": TABLE.encode()}.get(kind)
    if content is None:
        pl.read_csv(io.StringIO(TABLE)).write_parquet(tmp_path / "t", row_group_size=64)
        content = (tmp_path / "t").read_bytes()
    remote = put(f"replaced.{kind}", content)
    index = index_file(remote, sniff_format(remote), shard_rows=64)
    before = file_digest(remote)
    with ShardReader(index.fmt, ["text"], id_column=None) as shards:
        shards.read(index.shards[0])
        remote.write_bytes(content.replace(b"line 399", b"line 398") + b"")
        with pytest.raises(UserError, match=f"replaced.{kind} changed while it was read"):
            shards.read(index.shards[4])
    assert file_digest(remote) != before


def test_patterns_find_objects_in_natural_order():
    for key in ("in/part-10.csv", "in/part-2.csv", "in/deep/part-3.csv", "in/odd [1] é#.csv", "in/else.csv"):
        put(key, b"text\na\n")

    def keys(pattern):
        return [file.key for file in expand_inputs([f"s3://bucket/{pattern}"])]

    assert keys("in/part-*.csv") == ["in/part-2.csv", "in/part-10.csv"]
    assert keys("in/**/part-?.csv") == ["in/deep/part-3.csv", "in/part-2.csv"]
    assert keys("in/part-[!2]*.csv") == ["in/part-10.csv"]
    assert keys("in/odd [1] é#.csv") == ["in/odd [1] é#.csv"]
    for pattern, said in [
        ("in/part-11.csv", "did you mean 'part-10.csv'"),
        ("in", "is a folder"),
        ("in/x*.csv", "no file matches"),
    ]:
        with pytest.raises(UserError, match=said):
            keys(pattern)


def test_of_many_that_create_an_object_one_succeeds():
    file = place("s3://bucket/decided")
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda i: file.create(b"%d" % i), range(8)))
    assert made.count(True) == 1
    assert file.read_bytes() == b"%d" % made.index(True)


def test_a_large_file_appears_whole_or_not_at_all(storage, tmp_path, monkeypatch):
    monkeypatch.setattr(bucket, "_PART_BYTES", 5 << 20)
    target, content = place("s3://bucket/large"), random.Random(3).randbytes(6 << 20)

    def write():
        with write_atomically(target, tmp_path) as temporary:
            temporary.write_bytes(content)

    storage.answer = lambda request: error(403, "AccessDenied") if "partNumber=2" in request.query else None
    with pytest.raises(UserError, match="access is denied"):
        write()
    assert not target.exists()
    storage.answer = None
    write()
    assert target.read_bytes() == content
    assert list(tmp_path.iterdir()) == []


def test_what_passes_is_waited_for(storage):
    file = put("patience", b"123")
    for answer in (error(503, "SlowDown"), error(500, "InternalError"), "drop"):
        storage.answer = failing(2, answer)
        assert file.read_bytes() == b"123"
        storage.answer = failing(2, answer)
        file.write_bytes(b"123")


@pytest.mark.parametrize(
    ("answer", "said", "advice"),
    [
        (error(403, "AccessDenied", "you may not"), "access is denied", "ask for the right"),
        (error(403, "InvalidAccessKeyId"), "not accepted: InvalidAccessKeyId", "AWS_PROFILE"),
        (error(403, "SignatureDoesNotMatch"), "not accepted: SignatureDoesNotMatch", "AWS_PROFILE"),
        (error(404, "NoSuchBucket"), "no bucket 'bucket'", "check its name"),
        (error(301, "PermanentRedirect"), "another region", "AWS_REGION"),
        (error(400, "BadThing", "odd"), "could not do it", "run the same command"),
    ],
)
def test_a_refusal_is_told_without_what_it_repeats(storage, answer, said, advice):
    storage.answer = lambda request: answer
    with pytest.raises(UserError, match=said) as caught:
        place("s3://bucket/x.csv").read_bytes()
    assert advice in caught.value.details["next"]
    assert caught.value.__cause__ is None
    assert not any(secret in str(caught.value) for secret in KEYS.values())


def test_nobody_at_the_address_and_no_credentials_are_told_soon(monkeypatch):
    for changes, said in [
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, r"no answer from http://127\.0\.0\.1:1\n.*\n.*Connection refused"),
        ({"AWS_ACCESS_KEY_ID": ""}, "no credentials for s3:// were found"),
        ({"AWS_PROFILE": "nobody"}, "no profile 'nobody'"),
    ]:
        with monkeypatch.context() as patch:
            patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
            patch.setenv("AWS_CONFIG_FILE", "/nowhere")
            for name, value in changes.items():
                patch.setenv(name, value) if value else patch.delenv(name)
            forget_connections()
            with pytest.raises(UserError, match=said):
                place("s3://bucket/x.csv").read_bytes()
    forget_connections()


def test_a_profile_tells_keys_region_and_address(tmp_path, monkeypatch):
    (tmp_path / "credentials").write_text("[work]\naws_access_key_id = id1\naws_secret_access_key = secret1\n")
    (tmp_path / "config").write_text(
        "[profile work]\nregion = eu-north-1\nendpoint_url = http://127.0.0.1:9\n"
        "[profile login]\nsso_session = x\nsso_account_id = 1\n"
    )
    for name in ("AWS_ENDPOINT_URL", "AWS_REGION", *KEYS):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "work")
    found = access.settings("s3")
    assert found.store == {
        "aws_access_key_id": "id1",
        "aws_secret_access_key": "secret1",
        "endpoint": "http://127.0.0.1:9",
        "region": "eu-north-1",
    }
    assert found.client == {"allow_http": True}
    assert "secret1" not in repr(found)
    monkeypatch.setenv("AWS_PROFILE", "login")
    monkeypatch.setitem(sys.modules, "obstore.auth.boto3", None)
    with pytest.raises(UserError, match="boto3") as caught:
        access.settings("s3")
    assert "export-credentials" in caught.value.details["next"]


@pytest.mark.parametrize(
    "url", ["ftp://host/x", "s3:///x", "s3://bucket/a//b", "s3://bucket/../x", "https://a.b/c?sig=1"]
)
def test_addresses_that_cannot_be_used_are_refused(url):
    with pytest.raises(UserError):
        place(url)


def test_credentials_in_an_address_are_refused_and_not_repeated():
    with pytest.raises(UserError, match="has credentials in it") as caught:
        place("s3://planted-id:planted-secret@bucket/x")
    assert "planted" not in str(caught.value)


def test_a_local_folder_is_no_place_for_machines_without_a_common_disk():
    assert shared_place("s3://bucket/jobs") == RemoteFile("s3://bucket/jobs")
    with pytest.raises(UserError, match="is no address"):
        shared_place("jobs")


def test_without_the_package_it_says_which(monkeypatch):
    forget_connections()
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(UserError, match="needs one more package") as caught:
        place("s3://bucket/x").read_bytes()
    assert caught.value.details["next"] == "pip install 'kaggle-jobs[remote]'"
