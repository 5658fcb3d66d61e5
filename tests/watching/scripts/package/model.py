from torch import nn


class Ranker(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.rows, self.top = nn.Embedding(40, width), nn.Linear(width, 1)

    def forward(self, ids):
        return self.top(self.rows(ids)).squeeze(1)
