"""What a manifest and its locations may be."""

import os
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from enrollment.batches import manifest, processing, selectors, services
from enrollment.batches.models import BatchEnrollment
from enrollment.models import Customer
from tests.support.batches import carried_out, json_lines, line, put, results, said, submitted
from tests.support.customers import TELLER
from tests.support.stand_in import StandInWorker

pytestmark = pytest.mark.django_db


def from_storage(storage: Path, content: bytes, name: str = "manifest") -> BatchEnrollment:
    return carried_out(services.submit(manifest=put(storage, name, content), actor=TELLER))


def parquet(storage: Path, rows: list[dict[str, Any]]) -> bytes:
    path = storage / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path.read_bytes()


BAD = [
    (b"{not json}\n", "not JSON"),
    (b'"a word"\n', "dictionary"),
    (b"[" * 60_000 + b"\n", "not JSON"),
    (b'{"customer_id": "' + b"x" * 100_000 + b'"}\n', "at most 65536 bytes"),
    (b"\xff\xfe\n", "not JSON"),
    (line("b a d", "a.wav"), "customer_id: 1 to 64 letters"),
    (line("bad"), "audio: "),
    (line("bad", "a.wav", consent={"purpose": "marketing"}), "consent.purpose: "),
    (line("bad", "a.wav", overwrite=True), "overwrite: Unknown field."),
    (line("bad", "a.wav", **{"a\0b": 1}), "Unknown field."),
    (line("bad", "\ud800.wav"), "not JSON"),
    ({"customer_id": "bad", "audio": ["a.wav"]}, "consent: This field is required."),
]


def test_a_bad_line_is_that_customers_error_and_the_others_go_on(worker: StandInWorker, storage: Path) -> None:
    good = line("ann", said(storage, "ann"))
    batch = carried_out(submitted(good, *(bad for bad, _ in BAD), b"\n", line("bob", said(storage, "bob"))))
    assert (batch.state, batch.total, batch.enrolled, batch.failed) == ("SUCCEEDED", 14, 2, 12)
    found = list(batch.results.filter(state="FAILED").order_by("line"))
    assert {result.code for result in found} == {"invalid_line"}
    for result, (_, message) in zip(found, BAD, strict=True):
        assert message in result.message
    assert [result.line for result in found] == list(range(2, 14))
    assert batch.results.get(customer_id="bob").line == 15


def test_parquet_and_json_lines_say_the_same(worker: StandInWorker, storage: Path) -> None:
    rows = [
        line("ann", said(storage, "ann"), said(storage, "ann", 2), display_name="Ann"),
        line("bob", said(storage, "bob"), display_name=None),
        {"customer_id": None, "audio": None, "consent": None, "display_name": "Nobody"},
    ]
    batch = from_storage(storage, parquet(storage, rows))
    assert results(batch) == [("ann", "ENROLLED", ""), ("bob", "ENROLLED", ""), ("", "FAILED", "invalid_line")]
    assert Customer.objects.get(customer_id="ann").samples.count() == 2
    assert list(Customer.objects.values_list("display_name", flat=True)) == ["Ann", ""]


def test_a_parquet_file_goes_on_after_the_line_that_is_done(storage: Path) -> None:
    rows = [line(f"c-{number}", "a.wav") for number in range(1000)]
    parquet(storage, rows)
    with (storage / "rows.parquet").open("rb") as file:
        assert manifest.survey(file).total == 1000
        rest = [entry.content["customer_id"] for entry in manifest.entries(file, after=700)]
    assert rest == [f"c-{number}" for number in range(700, 1000)]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (None, "location_not_found"),
        (b"", "manifest_empty"),
        (b"\n\n", "manifest_empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(1000), "manifest_unreadable"),
        (b"PAR1" + bytes(1000), "manifest_unreadable"),
    ],
)
def test_a_manifest_that_cannot_be_read_ends_the_job_with_its_code(
    storage: Path, content: bytes | None, code: str
) -> None:
    if content is not None:
        put(storage, "manifest", content)
    batch = carried_out(services.submit(manifest="manifest", actor=TELLER))
    assert (batch.state, batch.error_code) == ("FAILED", code)


def test_a_damaged_parquet_file_ends_the_job_with_its_code(storage: Path) -> None:
    content = bytearray(parquet(storage, [line("ann", f"{number}.wav") for number in range(5000)]))
    content[100:-2000] = bytes(len(content) - 2100)
    batch = from_storage(storage, bytes(content))
    assert (batch.state, batch.error_code) == ("FAILED", "manifest_unreadable")


def test_a_manifest_behind_a_link_that_leads_out_of_the_storage_is_refused(storage: Path, tmp_path: Path) -> None:
    outside = put(tmp_path, "outside.jsonl", json_lines([line("ann", "a.wav")]))
    (storage / "m.jsonl").symlink_to(tmp_path / outside)
    batch = carried_out(services.submit(manifest="m.jsonl", actor=TELLER))
    assert (batch.state, batch.error_code) == ("FAILED", "location_outside_storage")


def test_recordings_outside_the_storage_are_refused_and_nothing_of_their_customer_is_stored(
    worker: StandInWorker, storage: Path, tmp_path: Path
) -> None:
    secret = tmp_path / put(tmp_path, "secret.wav", b"{}")
    (storage / "link.wav").symlink_to(secret)
    (storage / "folder").symlink_to(tmp_path)
    (storage / "inside.wav").symlink_to(storage / said(storage, "ann"))
    os.mkfifo(storage / "pipe.wav")
    put(storage, "large.wav", bytes(11 * 1024 * 1024))
    outside = "location_outside_storage"
    expected = {
        str(secret): outside,
        "../secret.wav": outside,
        "ann/../../secret.wav": outside,
        "https://bank.example/a.wav": outside,
        "file://secret.wav": outside,
        "..\\secret.wav": outside,
        "link.wav": outside,
        "folder/secret.wav": outside,
        "ann": "location_not_found",
        "pipe.wav": "location_not_found",
        "ann/9.wav": "location_not_found",
        "x" * 300: "location_unreadable",
    }
    good = said(storage, "ann")
    batch = carried_out(submitted(*(line(f"c-{n}", good, bad) for n, bad in enumerate(expected))))
    assert [code for _, _, code in results(batch)] == list(expected.values())
    assert not Customer.objects.exists()
    assert worker.calls == []

    batch = carried_out(submitted(line("ann", "inside.wav"), line("bob", "large.wav")))
    assert results(batch) == [("ann", "ENROLLED", ""), ("bob", "FAILED", "recording_too_large")]


def test_ten_thousand_customers_go_through_without_growing_memory(storage: Path) -> None:
    """Held as objects, the lines or their results would take more than 10 MB."""

    def on_progress(done: int, total: int) -> None:
        if done % 500 == 0:
            heights.append(psutil.Process().memory_info().rss)

    with (storage / "manifest").open("wb") as file:
        for number in range(10_000):
            file.write(json_lines([line(f"c-{number}", f"calls/{number}.wav", display_name=f"Customer {number}")]))
    batch = services.submit(manifest="manifest", actor=TELLER)
    heights = [psutil.Process().memory_info().rss]
    processing.execute(batch.id, on_progress=on_progress)
    batch.refresh_from_db()
    assert (batch.state, batch.total, batch.failed) == ("SUCCEEDED", 10_000, 10_000)
    assert sum(1 for _ in selectors.result_lines(batch)) == 10_000
    assert max(heights) - heights[0] < 5 * 1024 * 1024
