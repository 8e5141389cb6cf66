"""What other people's machines can do: published figures, for plans on a machine that is not this one.

A rate is that of dense bfloat16 matrix products with float32 sums, as the maker publishes it; half of the headline where that
counts structured sparsity. Prices are what renting one device for an hour cost on demand in 2026 with providers between the
cheapest and the dearest; they change monthly, so `--price` says another.
"""

import re
from dataclasses import dataclass

from diptych.config import nearest
from diptych.errors import RecipeError

SHARE_OF_PEAK = 0.4
"""The share of its published rate at which a device is assumed to train. Chowdhery et al. 2022 (PaLM, table 3) compare four
large runs: 21 %, 30 %, 33 % and 46 %; well-kept code on a few devices reaches 40 to 50 %."""


@dataclass(frozen=True)
class Device:
    """One accelerator."""

    name: str
    teraflops: float
    memory_gbytes: float
    bandwidth_gbytes: float
    source: str
    dollars_per_hour: float | None = None
    """None where there is no usual price: it stands on a desk, or is rented by the machine."""


DEVICES = {
    device.name.lower(): device
    for device in (
        Device("H100", 989, 80, 3350, "NVIDIA H100 datasheet, SXM", 3.0),
        Device("H200", 989, 141, 4800, "NVIDIA H200 datasheet, SXM", 4.0),
        Device("A100", 312, 80, 2039, "NVIDIA A100 80GB datasheet, SXM", 1.3),
        Device("A100-40GB", 312, 40, 1555, "NVIDIA A100 40GB datasheet, SXM"),
        Device("L40S", 362, 48, 864, "NVIDIA L40S datasheet"),
        Device("RTX4090", 165, 24, 1008, "NVIDIA Ada GPU architecture whitepaper, appendix A", 0.35),
        Device("RTX3090", 71, 24, 936, "NVIDIA Ampere GA102 whitepaper, appendix A"),
        Device("TPUv4", 275, 32, 1228, "Google Cloud documentation, TPU v4"),
        Device("TPUv5e", 197, 16, 819, "Google Cloud documentation, TPU v5e"),
        Device("TPUv5p", 459, 95, 2765, "Google Cloud documentation, TPU v5p"),
        Device("M1", 2.6, 16, 68, "Apple, M1: GPU, float32"),
        Device("M1-Max", 10.4, 64, 400, "Apple, M1 Max: GPU, float32"),
        Device("M2-Max", 13.6, 64, 400, "Apple, M2 Max: GPU, float32"),
    )
}


def find_devices(name: str) -> tuple[int, Device]:
    """(how many, of what) for a name such as "8xH100" or "rtx 4090".

    Raises:
        RecipeError E415: no such machine is known.
    """
    found = re.fullmatch(r"(?:(\d{1,6})\s*[x×*]\s*)?(.+)", name.strip(), re.IGNORECASE)
    count, key = (int(found[1] or 1), found[2].lower().replace(" ", "")) if found else (0, "")
    if count < 1 or key not in DEVICES:
        raise RecipeError("E415", name=name, hint=nearest(key, DEVICES), known=", ".join(device.name for device in DEVICES.values()))
    return count, DEVICES[key]
