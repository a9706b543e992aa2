"""Train one network in several processes, each on its part of every batch, through MPI.

    mpiexec -n 4 python examples/distributed.py [--epochs 2] [--samples N] [--out FOLDER]

The processes may run on one machine or on several: MPI knows where they are.  It needs
pip install "minidl[mpi]", and where the machine has no MPI of its own, pip install mpich.
Run again after an interruption, it goes on from the checkpoint, also in another number of
processes.
"""

import argparse
from pathlib import Path

from minidl import distributed, io, manual_seed, nn, optim
from minidl.data import ArrayDataset, DataLoader, datasets
from minidl.nn import functional as F
from minidl.train import Checkpoint, Trainer, accuracy


def network():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 7 * 7, 10),
    )  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--samples", type=int, help="how many images to train on (default all)")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--out", type=Path, default=Path("runs/distributed"))
    options = parser.parse_args()
    group = distributed.mpi()
    checkpoint = options.out / "checkpoint.safetensors"
    if group.rank == 0:  # only one process writes
        options.out.mkdir(parents=True, exist_ok=True)
        print(f"{group.size} processes")

    train, test = datasets.fashion_mnist(fallback=True)
    train = ArrayDataset(*train[: options.samples])
    manual_seed(group.rank)  # even so all begin with the weights of process 0
    model = network()
    trainer = Trainer(
        model, optim.AdamW(model.parameters(), 0.002), F.cross_entropy, [accuracy],
        device=options.device, group=group,
    )  # fmt: skip
    trainer.fit(
        DataLoader(train, 128, shuffle=True),  # each process reads its part of a batch alone
        epochs=options.epochs,
        callbacks=[Checkpoint(checkpoint, every=50)],
        resume=checkpoint,
        progress=group.rank == 0,
    )
    if group.rank == 0:
        found = trainer.evaluate(ArrayDataset(*test[:2000]))
        io.save(options.out / "weights.safetensors", model.state_dict())
        print(f"test accuracy {found['accuracy']:.3f}; weights are in {options.out}")


if __name__ == "__main__":
    main()
