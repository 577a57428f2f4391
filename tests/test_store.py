"""The store: atomic parts, locks that die with their holder, damage that is named."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from prerl_eval import store
from prerl_eval.errors import RunStopped, UserError
from prerl_eval.run_lock import RunLock
from prerl_eval.run_record import differing_keys, holds_other_files, read_record, write_record

ROW = store.SampleRow(
    run_id="r",
    benchmark="aime24",
    problem_id="60",
    sample_index=0,
    step=0,
    prompt="p",
    completion="c \\boxed{204}",
    token_ids=[1, 2, 3],
    tokens=3,
    finish_reason="stop",
    opens_thinking=False,
    status="correct",
    answer="204",
    answer_class="=",
    gold="204",
    extra="{}",
    grader="math/1",
    detail="",
    seed=2**62 + 1,
    seconds=0.5,
)


@pytest.fixture
def run(tmp_path):
    write_record(tmp_path / "run", {"schema": 1, "run_id": "r", "settings": {}, "benchmarks": {}})
    return tmp_path / "run"


def rows(count, **changes):
    return [replace(ROW, sample_index=index, **changes) for index in range(count)]


def test_rows_come_back_as_they_went_in(run):
    store.write_part(run, store.rows_to_table(rows(3)))
    store.write_part(run, store.rows_to_table([replace(ROW, sample_index=3, token_ids=None)]))
    back = store.read_samples(run).to_pylist()
    assert [store.SampleRow(**row) for row in back] == [
        *rows(3),
        replace(ROW, sample_index=3, token_ids=None),
    ]
    assert store.stored_keys(run) == {("aime24", "60", index, 0) for index in range(4)}


def test_any_parquet_reader_sees_the_columns_and_the_schema_version(run):
    part = store.write_part(run, store.rows_to_table(rows(1)))
    file = pq.ParquetFile(part)
    assert file.schema_arrow.metadata[b"prerl_schema_version"] == b"1"
    wanted = "run_id benchmark problem_id sample_index step prompt completion tokens finish_reason status"
    assert set(f"{wanted} answer gold grader seed seconds".split()) <= set(file.schema_arrow.names)


def test_text_that_is_not_utf8_is_stored_with_a_replacement(run):
    store.write_part(run, store.rows_to_table([replace(ROW, completion="half \ud83d emoji")]))
    assert store.read_samples(run, ["completion"]).to_pylist() == [{"completion": "half ? emoji"}]


def test_leftovers_of_a_kill_are_never_read(run):
    store.write_part(run, store.rows_to_table(rows(2)))
    (run / "samples" / ".part-00001.tmp").write_bytes(b"PAR1 torn")
    assert len(store.read_samples(run)) == 2
    store.write_part(run, store.rows_to_table([replace(ROW, sample_index=2)]))
    assert len(store.read_samples(run)) == 3


def test_a_part_damaged_later_is_named(run):
    part = store.write_part(run, store.rows_to_table(rows(50)))
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"part-00000\.parquet is damaged .* move it away"):
        store.read_samples(run)


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(UserError, match=r"is not a prerl run"):
        store.read_samples(tmp_path)


def test_a_newer_schema_is_refused(run):
    write_record(run, {"schema": 99})
    with pytest.raises(UserError, match="newer prerl"):
        store.read_samples(run)


@pytest.mark.parametrize("record", ["[]", "{}", '{"schema": "1"}', '{"schema": 1, "settings": []}'])
def test_a_foreign_run_json_is_named(run, record):
    (run / "run.json").write_text(record)
    with pytest.raises(UserError, match=r"run\.json (is no record of a prerl run|lacks settings)"):
        read_record(run)


def test_parts_that_were_copied_in_do_not_displace_the_next(run):
    first = store.write_part(run, store.rows_to_table([ROW]))
    for name in ("part-copy.parquet", "part-100000.parquet"):
        shutil.copy(first, first.with_name(name))
    names = {store.write_part(run, store.rows_to_table([ROW])).name for _ in range(2)}
    assert names == {"part-100001.parquet", "part-100002.parquet"}


def test_differing_keys_names_each():
    assert differing_keys({"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 4}) == ["b: 2 -> 3", "c: None -> 4"]


def test_second_writer_is_refused_and_a_killed_one_leaves_no_lock(run):
    program = (
        "import sys, time; from pathlib import Path; from prerl_eval.run_lock import RunLock\n"
        f"with RunLock(Path({str(run)!r})):\n"
        "    print('held', flush=True); time.sleep(60)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=f"being written by process {holder.pid}"), RunLock(run):
            pass
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        holder.stdout.close()
    with RunLock(run):
        pass


@pytest.mark.parametrize("place", ["file", "file/below", "x" * 300])
def test_a_place_where_no_run_can_be_is_refused(tmp_path, place):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=r"cannot write a run in .* give another --out"):
        RunLock(tmp_path / place).__enter__()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_second_writer_in_the_same_process_is_refused(run):
    with RunLock(run), pytest.raises(UserError, match="by this process"), RunLock(run):
        pass


def test_a_forked_child_does_not_keep_the_lock_of_a_killed_parent(run):
    program = (
        "import os, time; from pathlib import Path; from prerl_eval.run_lock import RunLock\n"
        f"with RunLock(Path({str(run)!r})):\n"
        "    child = os.fork()\n"
        "    if child: print(child, flush=True)\n"
        "    time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    try:
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        os.kill(child, 0)  # still alive
        with RunLock(run):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        parent.stdout.close()


def test_a_writer_that_wrote_nothing_leaves_nothing(tmp_path):
    with RunLock(tmp_path / "new"):
        assert (tmp_path / "new").is_dir()
    assert not (tmp_path / "new").exists()


def test_parts_are_written_by_age_and_by_size(run):
    now = [0.0]
    writer = store.PartWriter(run, lambda: now[0], max_rows=4)
    writer.append(rows(1))
    now[0] = 1.9
    writer.append([replace(ROW, sample_index=1)])
    assert store.parts(run) == []
    now[0] = 2.1
    writer.flush_if_due()
    assert len(store.parts(run)) == 1
    writer.append([replace(ROW, sample_index=index) for index in range(2, 7)])
    assert len(store.parts(run)) == 2
    # After 1,000 s a row may wait 10 s: the number of parts grows with the logarithm of the time.
    now[0] = 1000.0
    writer.append([replace(ROW, sample_index=7)])
    now[0] = 1005.0
    writer.flush_if_due()
    assert len(store.parts(run)) == 2
    now[0] = 1011.0
    writer.flush_if_due()
    assert len(store.parts(run)) == 3
    assert len(store.read_samples(run)) == 8


def steps_in_parts(run, parts):
    """Store one part per list of steps; every row has an index of its own. Returns the keys."""
    numbered = iter(range(1000))
    keys = set()
    for steps in parts:
        made = [replace(ROW, step=step, sample_index=next(numbered)) for step in steps]
        keys |= {(row.benchmark, row.problem_id, row.sample_index, row.step) for row in made}
        store.write_part(run, store.rows_to_table(made))
    return keys


def test_rows_of_later_steps_are_removed_and_no_other(run):
    keys = steps_in_parts(run, [[0, 1, 2], [2, 3], [3, 3], [3, 2, 4]])
    untouched = store.parts(run)[0].stat()
    assert store.drop_rows_after(run, 2) == 5
    assert store.stored_keys(run) == {key for key in keys if key[3] <= 2}
    assert [part.name for part in store.parts(run)] == [f"part-0000{number}.parquet" for number in (0, 1, 3)]
    after = store.parts(run)[0].stat()
    assert (after.st_ino, after.st_mtime_ns) == (untouched.st_ino, untouched.st_mtime_ns)
    assert pq.ParquetFile(store.parts(run)[1]).schema_arrow.metadata[b"prerl_schema_version"] == b"1"
    assert store.drop_rows_after(run, 2) == 0
    assert store.write_part(run, store.rows_to_table([ROW])).name == "part-00004.parquet"


def test_removing_everything_leaves_an_empty_run(run):
    steps_in_parts(run, [[1, 2], [3]])
    assert store.drop_rows_after(run, 0) == 3
    assert (store.parts(run), len(store.read_samples(run))) == ([], 0)


@pytest.mark.parametrize("calls", [1, 2, 3])
def test_a_kill_between_two_parts_leaves_a_store_that_the_same_call_mends(run, calls):
    """The process dies at the n-th fsync of the first file, of the folder, of the second file."""
    keys = steps_in_parts(run, [[1, 2], [1, 3], [2, 2]])
    program = (
        "import os, signal, sys; from pathlib import Path; from prerl_eval import store\n"
        "fsync, count = os.fsync, 0\n"
        "def dying(file):\n"
        "    global count; count += 1; fsync(file)\n"
        f"    if count == {calls}: os.kill(os.getpid(), signal.SIGKILL)\n"
        "os.fsync = dying\n"
        f"store.drop_rows_after(Path({str(run)!r}), 1)\n"
    )
    died = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert died.returncode == -signal.SIGKILL, died.stderr
    halfway = store.stored_keys(run)
    kept = {key for key in keys if key[3] <= 1}
    assert kept < halfway <= keys
    assert store.drop_rows_after(run, 1) == len(halfway) - 2
    assert store.stored_keys(run) == kept


def test_a_damaged_part_is_not_removed(run):
    steps_in_parts(run, [[1], [2] * 50])
    part = store.parts(run)[1]
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"part-00001\.parquet is damaged"):
        store.drop_rows_after(run, 1)
    assert part.exists()


def test_a_full_disk_stops_with_one_line_and_keeps_every_part(tmp_path):
    """On a real file system of 256 KiB, where mounting one is possible."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("cannot mount a small tmpfs here (needs root)")
    try:
        run = disk / "run"
        write_record(run, {"schema": 1, "run_id": "r", "settings": {}, "benchmarks": {}})
        store.write_part(run, store.rows_to_table(rows(5)))
        noise = os.urandom(400_000).hex()
        with pytest.raises(RunStopped, match=r"the disk is full; every stored row is safe"):
            store.write_part(run, store.rows_to_table([replace(ROW, sample_index=9, completion=noise)]))
        assert len(store.read_samples(run)) == 5
        assert [path.name for path in (run / "samples").iterdir()] == ["part-00000.parquet"]
        store.write_part(run, store.rows_to_table([replace(ROW, sample_index=9)]))
        assert len(store.read_samples(run)) == 6
    finally:
        time.sleep(0.05)
        subprocess.run(["umount", str(disk)], check=True)


def test_a_changed_byte_anywhere_in_a_part_changes_no_row(run):
    """Read whole or in part, the file is either refused or says what it said."""
    part = store.write_part(run, store.rows_to_table(rows(60, answer="204" * 9)))
    whole, before = store.read_part(part), part.read_bytes()
    refused = []
    for place in range(0, len(before), 11):
        part.write_bytes(before[:place] + bytes([before[place] ^ 1 << place % 8]) + before[place + 1 :])
        try:
            assert store.read_part(part).equals(whole), f"byte {place}"
            assert store.read_part(part, ["status", "step"]).equals(whole.select(["status", "step"]))
        except UserError as error:
            refused.append(str(error))
    assert len(refused) > len(before) / 11 / 3
    assert all(message.startswith(f"{part} is damaged (") for message in refused)


def test_what_a_killed_start_leaves_is_no_other_file(tmp_path):
    assert not holds_other_files(tmp_path / "absent")
    for name in ("lock", ".run.json.tmp"):
        (tmp_path / name).write_text("")
    assert not holds_other_files(tmp_path)
    (tmp_path / "notes.txt").write_text("")
    assert holds_other_files(tmp_path)
