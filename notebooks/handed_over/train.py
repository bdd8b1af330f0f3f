"""How the weights came about: `python train.py` trains them anew and writes weights.safetensors."""

from pathlib import Path

import torch
import torch.nn.functional as F
from net import Digits
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

EPOCHS, BATCH = 25, 64


def digits() -> tuple[torch.Tensor, ...]:
    """Give training images, test images, training labels, test labels; pixels from 0 to 1."""
    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(images / 16, labels, test_size=600, stratify=labels, random_state=0)
    x, test_x = (torch.tensor(part, dtype=torch.float32).reshape(-1, 1, 8, 8) for part in parts[:2])
    y, test_y = (torch.tensor(part) for part in parts[2:])
    return x, test_x, y, test_y


def shifted(x: torch.Tensor) -> torch.Tensor:
    """Move a batch by at most one pixel each way."""
    down, right = torch.randint(0, 3, (2,)).tolist()
    return F.pad(x, (1, 1, 1, 1))[..., down : down + 8, right : right + 8]


def main() -> None:
    """Train, say how well it went, and write the weights."""
    torch.manual_seed(0)
    x, test_x, y, test_y = digits()
    model = Digits()
    steps = EPOCHS * -(-len(x) // BATCH)
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            F.cross_entropy(model(shifted(x[batch])), y[batch]).backward()
            optimizer.step()
            schedule.step()
    model.eval()
    with torch.no_grad():
        right = (model(test_x).argmax(1) == test_y).float().mean().item()
    print(f"{right:.1%} of {len(test_x)} test images are classified rightly")
    save_file(model.state_dict(), Path(__file__).with_name("weights.safetensors"))


if __name__ == "__main__":
    main()
