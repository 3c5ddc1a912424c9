"""tamis selftest: on the cpu, on a simulated device, and on a card that is faked."""
import pytest

from conftest import binary

FAKES = binary().parent / "tests" / "fakes" / "cuda" / "libtamis_cuda.so"
QUICK = ["--rounds", "1", "--no-times"]


def test_the_cpu_passes_and_is_timed(tamis, tiny):
    result = tamis("selftest", "--device", "cpu", "--rounds", "1", "--model", tiny)
    assert "65 of 65 checks passed" in result.text
    assert "WRONG" not in result.text
    assert "Measured here, now:" in result.text and "GFLOP/s" in result.text


def test_json_has_every_check_with_its_number(tamis):
    result = tamis("selftest", "--device", "sim:0", *QUICK, "--format", "json", "--quiet")
    report = result.json
    assert report["passed"] and report["device"] == "sim:0" and report["timings"] == []
    assert any(check["name"].startswith("attention bf16") for check in report["checks"])
    assert all(check["error"] <= check["tolerance"] for check in report["checks"])


def test_without_a_model_it_says_that_scores_are_not_compared(tamis):
    assert "scores are not compared" in tamis("selftest", "--device", "cpu", *QUICK).err


@pytest.mark.parametrize("device", ["cpu,cpu", "gpu"])
def test_what_is_not_one_device_is_refused(tamis, device):
    assert device in tamis("selftest", "--device", device, status=64).err


def test_a_device_that_fails_is_told_check_by_check(tamis):
    result = tamis("selftest", "--device", "sim:0", "--sim", "fail_op=3", *QUICK, status=1)
    assert "WRONG" in result.text and "fail_op" in result.text


@pytest.mark.slow
@pytest.mark.skipif(not FAKES.exists(), reason="there is no nvcc: the CUDA plug-in was not built")
def test_a_faked_card_passes(tamis, tiny):
    result = tamis("selftest", "--device", "cuda:0", "--cuda-plugin", FAKES, *QUICK, "--model", tiny,
                   "--format", "json", env={"TAMIS_FAKE_CUDA": "memory=512MiB"})
    assert result.json["description"].startswith("Fake GPU, sm_80")
