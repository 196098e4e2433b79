"""The package: what its README shows holds, and the wheel installs and works on its own."""

import doctest
import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[1]


def test_every_example_of_the_readme_holds(vmm, tmp_path, monkeypatch):
    text = (PROJECT / "README.md").read_text()
    (tmp_path / "model.bin").write_bytes(bytes(3_000_000))
    examples = text.replace("/run/my-vm/vsock.sock", str(vmm.path)).replace("/tmp/in-the-guest", str(tmp_path / "guest"))
    monkeypatch.chdir(tmp_path)
    test = doctest.DocTestParser().get_doctest(examples, {}, "README.md", "README.md", 0)
    assert len(test.examples) > 10
    told = []
    outcome = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL).run(test, out=told.append)
    assert outcome.failed == 0, "".join(told)


def test_license_is_the_projects():
    assert (PROJECT / "LICENSE").read_bytes() == (PROJECT.parent / "LICENSE").read_bytes()


def test_wheel_installs_and_runs_a_command(vmm, tmp_path):
    def python(*arguments, interpreter=sys.executable):
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        return subprocess.run(
            [interpreter, *arguments], check=True, capture_output=True, text=True, env=environment, cwd=tmp_path
        ).stdout

    offline = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-index"]
    python("-m", "pip", "wheel", *offline, "--no-build-isolation", "--wheel-dir", str(tmp_path), str(PROJECT))
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name == "smolvm_vsock-0.1.0-py3-none-any.whl"
    python("-m", "venv", "--without-pip", str(tmp_path / "venv"))
    python("-m", "pip", f"--python={tmp_path}/venv/bin/python", "install", *offline, str(wheel))
    program = """
import sys, importlib.metadata, importlib.resources, smolvm_vsock
assert smolvm_vsock.__file__.startswith(sys.prefix), smolvm_vsock.__file__
assert importlib.resources.files(smolvm_vsock).joinpath("py.typed").is_file()
assert any(each.name == "LICENSE" for each in importlib.metadata.files("smolvm-vsock"))
print(smolvm_vsock.Channel.from_uds(sys.argv[1]).run("echo out", shell="raw").output)
"""
    assert python("-c", program, str(vmm.path), interpreter=str(tmp_path / "venv/bin/python")) == "out\n"
