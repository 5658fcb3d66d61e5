"""Matrix factorisation in plain PyTorch, as a stranger has it: arguments in, a metric printed."""

import argparse

import torch
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--ratings", required=True, help="CSV file of user,item,rating")
parser.add_argument("--lr", type=float, default=0.05)
parser.add_argument("--biases", action="store_true")
parser.add_argument("--dim", type=int, default=16)
parser.add_argument("--batch", type=int, default=512)
parser.add_argument("--epochs", type=int, default=4)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()


def load(path):
    rows = [line.strip().split(",")[:3] for line in open(path).readlines()[1:]]
    users, items = ({name: at for at, name in enumerate(sorted({r[c] for r in rows}))} for c in (0, 1))
    return (
        torch.tensor([users[r[0]] for r in rows]),
        torch.tensor([items[r[1]] for r in rows]),
        torch.tensor([float(r[2]) for r in rows]),
    )


class Factorisation(nn.Module):
    def __init__(self, users, items, dim, mean):
        super().__init__()
        self.user, self.item = nn.Embedding(users, dim), nn.Embedding(items, dim)
        nn.init.normal_(self.user.weight, std=0.1)
        nn.init.normal_(self.item.weight, std=0.1)
        self.user_bias = nn.Embedding(users, 1) if args.biases else None
        if args.biases:
            nn.init.zeros_(self.user_bias.weight)
        self.mean = mean

    def forward(self, user, item):
        score = self.mean + (self.user(user) * self.item(item)).sum(1)
        return score + self.user_bias(user).squeeze(1) if args.biases else score


user, item, rating = load(args.ratings)
split = torch.randperm(len(rating), generator=torch.Generator().manual_seed(0))
train, test = split[: len(split) * 4 // 5], split[len(split) * 4 // 5 :]
torch.manual_seed(args.seed)
model = Factorisation(int(user.max()) + 1, int(item.max()) + 1, args.dim, float(rating[train].mean()))
optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
for epoch in range(args.epochs):
    for rows in train[torch.randperm(len(train))].split(args.batch):
        loss = ((model(user[rows], item[rows]) - rating[rows]) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        error = (model(user[test], item[test]) - rating[test]) ** 2
    print(f"epoch {epoch + 1}: train loss {loss.item():.4f}, test RMSE {error.mean().sqrt().item():.6f}")
