from generator import warmup
from tests.unit.generator.entries import entry, sequence


def test_a_sample_holds_one_element_and_repeats_it() -> None:
    first, *_ = warmup.plan(entry())

    assert (first.name, first.batch, first.dims) == ("b64", 64, {})
    assert [(spec.name, spec.dims, spec.file) for spec in first.inputs] == [
        ("dense", (13,), "dense.bin"),
        ("ids", (6,), "ids.bin"),
    ]


def test_batches_share_their_files() -> None:
    assert list(warmup.data_files(entry(batching={"preferred": [4, 8]}))) == [
        "dense.bin",
        "ids.bin",
    ]


def test_lengths_have_files_of_their_own_and_exactly_as_many_bytes_as_needed() -> None:
    sizes = {name: len(content) for name, content in warmup.data_files(sequence()).items()}

    assert sizes == {
        "tokens-seq64.bin": 64 * 8,
        "mask-seq64.bin": 64,
        "tokens-seq16.bin": 16 * 8,
        "mask-seq16.bin": 16,
        "tokens-seq1.bin": 8,
        "mask-seq1.bin": 1,
    }


def test_every_file_that_the_plan_names_is_written() -> None:
    for model in (entry(), sequence(), sequence(max_batch_size=0)):
        named = {spec.file for sample in warmup.plan(model) for spec in sample.inputs}
        assert named == set(warmup.data_files(model))
