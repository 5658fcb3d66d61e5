# %% [markdown]
# A notebook, exported: cells, and all names global. The model is never called itself.

# %%
import torch
from torch import nn

torch.manual_seed(0)


# %%
class Factors(nn.Module):
    def __init__(self):
        super().__init__()
        self.users = nn.Embedding(40, 4)
        self.items = nn.Embedding(30, 4)

    def scores(self, u, i):
        return (self.users(u) * self.items(i)).sum(1)

    def loss(self, u, i, r):
        return ((self.scores(u, i) - r) ** 2).mean()


# %%
model = Factors()
opt = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9)

# %%
history = []
for _ in range(24):
    u, i = torch.randint(40, (32,)), torch.randint(30, (32,))
    loss = model.loss(u, i, (u % 3).float())
    opt.zero_grad()
    loss.backward()
    opt.step()
    history.append(loss.item())

# %%
history[-1]
