"""The batches of one process among several that share a training job: its part of each batch of the whole job."""

from __future__ import annotations

from collections.abc import Iterator

from accelerate import Accelerator
from accelerate.data_loader import prepare_data_loader
from torch.utils.data import DataLoader

from dnatune import distributed
from dnatune.sampling import LengthGroupedBatches


class SharedBatches(LengthGroupedBatches):
    """The same batches in the same order as in one process, each shared out between the processes."""

    def __iter__(self) -> Iterator[list[int]]:
        for batch in super().__iter__():
            yield distributed.share(batch)


def prepared(accelerator: Accelerator, loader: DataLoader) -> DataLoader:
    """Return a loader that moves its batches to the device; left to itself accelerate would share them out again."""
    if distributed.size() == 1:
        return accelerator.prepare(loader)
    return prepare_data_loader(
        loader, accelerator.device, num_processes=1, process_index=0, put_on_device=True, rng_types=None
    )
