"""Records of data sets on the Hugging Face hub."""

import textwrap
from collections.abc import Iterable, Iterator

from likra.data.sources.files import Located
from likra.data.sources.memory import split_records
from likra.errors import InputError
from likra.utils import hub_client


def hub_records(parts: Iterable[tuple[str, str | None]]) -> Iterator[Located]:
    """The records of (repository, configuration) pairs; `*` stands for every configuration."""
    import datasets

    if not hub_client.reachable():
        raise InputError(
            "the Hugging Face hub cannot be reached, and the data set is there. Check the network, pass a local file "
            "or folder, or set HF_HUB_OFFLINE=1 to use what was downloaded before."
        )
    for repository, configuration in parts:
        try:
            names = datasets.get_dataset_config_names(repository) if configuration == "*" else [configuration]
            loaded = [(name, datasets.load_dataset(repository, name)) for name in names]
        except Exception as error:  # datasets, huggingface_hub and pyarrow share no base class for these
            if isinstance(error, MemoryError):
                raise
            reason = textwrap.shorten(str(error), 160)
            raise InputError(
                f"{repository}: cannot be loaded from the Hugging Face hub ({type(error).__name__}: {reason}). "
                "Check the name and the network, or pass a local file or folder."
            ) from None
        for name, splits in loaded:
            yield from split_records(f"{repository} {name}" if name else repository, splits)
