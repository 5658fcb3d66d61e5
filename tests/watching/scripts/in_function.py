"""Everything within one function, the class of the model too; the loop calls parts of it."""

import torch


def main():
    from torch import nn

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.EmbeddingBag(50, 8, mode="mean")
            self.head = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))

    torch.manual_seed(0)
    model = Model()

    def step(ids, labels, optimizer):
        optimizer.zero_grad()
        hidden = model.encoder(ids)
        loss = nn.functional.cross_entropy(model.head(hidden), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(24):
        ids = torch.randint(50, (32, 3))
        step(ids, (ids[:, 0] < 25).long(), optimizer)


main()
