"""A loop in a function, with epochs, validation, clipping and a schedule."""

import torch
from torch import nn


class Ranker(nn.Module):
    def __init__(self):
        super().__init__()
        self.users, self.items = nn.Embedding(40, 4), nn.Embedding(30, 4)
        self.top = nn.Linear(8, 1)

    def forward(self, users, items):
        return self.top(torch.cat([self.users(users), self.items(items)], 1)).squeeze(1)


def batches(count):
    for _ in range(count):
        users, items = torch.randint(40, (32,)), torch.randint(30, (32,))
        yield users, items, ((users + items) % 2).float()


def train(model, epochs=3):
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for epoch in range(epochs):
        model.train()
        for users, items, labels in batches(8):
            optimizer.zero_grad(set_to_none=True)
            loss = nn.functional.binary_cross_entropy_with_logits(model(users, items), labels)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        schedule.step()
        model.eval()
        with torch.no_grad():
            losses = [nn.functional.binary_cross_entropy_with_logits(model(u, i), y) for u, i, y in batches(2)]
        print(f"epoch {epoch}: {torch.stack(losses).mean():.3f}")


if __name__ == "__main__":
    torch.manual_seed(0)
    train(Ranker())
