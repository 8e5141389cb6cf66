"""A Flower server drives two sites for three rounds, in processes of their own, and comes to the weights that one process comes to.

    python benchmarks/flower_rounds.py                           # builds an environment for Flower first: needs a package registry
    python benchmarks/flower_rounds.py --flower flower/bin/python    # or takes one that has flwr

Flower's pins exclude ours, so that environment has Flower's own packages first and finds all others, torch among them, where this
interpreter has them. The same recipe, tables and model are then trained by `Site` and `Center` in this process, and the weights compared.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Any

FLOWER = "flwr==1.42.0"
ROUNDS = 3
TINY = {"hidden_size": 32, "num_layers": 1, "head_size": 16, "context_length": 32}
TABLES = {
    "beijing": "text,label\n" + "".join(f"菜 {n} {w},{y}\n" for n in range(6) for w, y in (("好", "good"), ("难吃", "poor"))),
    "london": "text,label\n" + "".join(f"room {n} {w},{y}\n" for n in range(5) for w, y in (("fine", "good"), ("bad", "poor"))),
}
PROJECT = """
[project]
name = "together"
version = "1.0.0"
license = "Apache-2.0"
dependencies = ["flwr"]
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[tool.hatch.build.targets.wheel]
packages = ["."]
[tool.flwr.app]
publisher = "diptych"
[tool.flwr.app.components]
serverapp = "together.server:app"
clientapp = "together.client:app"
[tool.flwr.app.config]
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flower", type=Path, help="an interpreter whose environment has flwr")
    parser.add_argument("--minutes", type=float, default=10, help="give up after so long")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        flower = (options.flower or _environment(folder)).absolute()
        recipe = _prepare(folder)
        _drive(folder, flower, recipe, options.minutes * 60)
        _compare(folder, recipe)


def _environment(folder: Path) -> Path:
    subprocess.run([sys.executable, "-m", "venv", str(folder / "flower")], check=True)
    python = folder / "flower" / "bin" / "python"
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", FLOWER], check=True)
    return python


def _prepare(folder: Path) -> dict[str, Any]:
    """Tables, the model that all start from, and the recipe."""
    from diptych.finetuning import finetune_recipe
    from diptych.recipe import build
    from diptych.training.progress import Several

    for name, table in TABLES.items():
        (folder / f"{name}.csv").write_text(table, encoding="utf-8")
    start: dict[str, Any] = {"model": {"preset": "bert-tiny", "sizes": TINY, "tokenizer": {"vocab_size": 200}}}
    start |= {"task": {"name": "classification"}, "train": {"steps": 1}, "run": {"out": str(folder / "start")}}
    finetune_recipe(build(start), [("public 公开", "good"), ("other 其他", "poor")], listener=Several([]), hold_out=False)
    federated = {"name": "federated", "by": "group", "rounds": ROUNDS}
    return {
        "model": {"base": str(folder / "start")},
        "task": {"name": "classification"},
        "train": {"epochs": 3.0, "lr": 0.01, "batch_size": 3, "regime": [federated]},
        "run": {"precision": "float32", "threads": 1},
    }


def _drive(folder: Path, flower: Path, recipe: dict[str, Any], seconds: float) -> None:
    """Flower's server, two nodes and the app, until the server has written the model."""
    app = folder / "app" / "together"
    app.mkdir(parents=True)
    (app.parent / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
    (app / "__init__.py").write_text("", encoding="utf-8")
    (app / "recipe.py").write_text(f"RECIPE = {recipe!r}\n", encoding="utf-8")
    (app / "client.py").write_text(
        "from diptych.flower import client_app\nfrom together.recipe import RECIPE\n\napp = client_app(RECIPE)\n", encoding="utf-8"
    )
    out = folder / "together"
    (app / "server.py").write_text(
        f"from diptych.flower import server_app\nfrom together.recipe import RECIPE\n\napp = server_app(RECIPE, {str(out)!r})\n",
        encoding="utf-8",
    )
    home, bin_ = folder / "home", flower.parent
    home.mkdir()
    server, *nodes = _free_ports(3)
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "here"\n\n[superlink.here]\naddress = "127.0.0.1:{server}"\ninsecure = true\n', encoding="utf-8"
    )
    source = Path(__file__).resolve().parents[1] / "src"
    others = folder / "others"
    others.mkdir()
    # After Flower's own packages, so that its pins win; a .pth file is what puts them last.
    (others / "sitecustomize.py").write_text(f"import sys\nsys.path += [{sysconfig.get_path('purelib')!r}]\n", encoding="utf-8")
    environment = {**os.environ, "FLWR_HOME": str(home), "FLWR_TELEMETRY_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    environment |= {"PYTHONPATH": f"{others}{os.pathsep}{source}", "PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}"}
    commands = [["flower-superlink", "--insecure", "--disable-runtime-dependency-installation", "--port", str(server)]]
    for (name, _table), port, number in zip(TABLES.items(), nodes, range(2)):
        told = f'data="{folder / name}.csv" number={number}'
        commands.append(
            ["flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{server}", "--port", str(port), "--node-config", told]
        )
    running = []
    try:
        for number, command in enumerate(commands):
            log = (folder / f"log-{number}.txt").open("w")
            running.append(subprocess.Popen([str(bin_ / command[0]), *command[1:]], env=environment, stdout=log, stderr=log))
            _wait_for(server, seconds) if number == 0 else None
        begun = time.monotonic()
        subprocess.run([str(bin_ / "flwr"), "run", str(app.parent)], env=environment, check=True, timeout=seconds)
        while not (out / "config.json").exists():
            if time.monotonic() - begun > seconds or any(process.poll() is not None for process in running):
                print("\n".join(f"--- {log.name}\n{log.read_text()[-3000:]}" for log in sorted(folder.glob("log-*.txt"))))
                raise SystemExit("Flower did not come to the end")
            time.sleep(0.5)
        time.sleep(1)
        print(f"Flower drove two sites for {ROUNDS} rounds in {time.monotonic() - begun:.0f} s")
    finally:
        for process in reversed(running):
            process.terminate()
        for process in running:
            process.wait(30)
        shutil.rmtree(home, ignore_errors=True)


def _compare(folder: Path, recipe: dict[str, Any]) -> None:
    import torch

    from diptych.federating import Center, Site
    from diptych.recipe import build
    from diptych.running import load_model

    checked = build(recipe)
    center = Center(checked)
    # Flower lists nodes by numbers that it draws; the mean of two does not depend on their order.
    sites = [Site(checked, str(folder / f"{name}.csv"), name, number) for number, name in enumerate(TABLES)]
    arrays = center.start()
    for round in range(ROUNDS):
        answers = [site.train(arrays, round) for site in sites]
        arrays = center.merge(arrays, round, list(TABLES), answers)
    here = center.finish(arrays, folder / "here").net.state_dict()
    there = load_model(folder / "together").net.state_dict()
    start = load_model(folder / "start").net.state_dict()
    apart = max(float((here[name] - there[name]).abs().max()) for name in here)
    moved = max(float((here[name] - start[name]).abs().max()) for name in here)
    same = all(torch.equal(here[name], there[name]) for name in here)
    print(f"weights moved by up to {moved:.3g}; Flower's and this process's are {'the same bits' if same else f'{apart:.3g} apart'}")
    if apart > 1e-6 or moved < 1e-4:
        raise SystemExit("they are not the same")


def _free_ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    for each in held:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


def _wait_for(port: int, seconds: float) -> None:
    begun = time.monotonic()
    while time.monotonic() - begun < seconds:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise SystemExit("Flower's server does not answer")


if __name__ == "__main__":
    main()
