"""Small neural networks; nothing else here knows torch."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from agents.forecast.forecaster import Grid
from agents.forecast.tape import Tape
from simulator.arrays import Floats, Ints

_KEPT_WEEKS = 4
_WINDOW = 288
_BATCH, _LEARNING_RATE, _DECAY = 256, 2e-3, 1e-4
_EPOCHS, _FEWEST_UPDATES = 64, 50
_HIDDEN, _DROPPED = 64, 0.1
_RECURRENT_BINS = 48
_TIMES = 4
_TINY = 1e-9


class Neural:
    """A network that is trained on a history and then forecasts, its weights as they are.

    It sees up to 288 bins of roots, what followed a day and a week before, and the time of day and week; all roots are
    relative to the last one, in standard deviations of the history. Trained with AdamW on absolute errors at all
    steps ahead.

    Args:
        make: makes the network, from the window's length, how many earlier futures it sees, and the steps ahead.
        updates: of the weights in training, at most; fewer on a short history.
    """

    def __init__(self, grid: Grid, make: Callable[[int, int, int], nn.Module], updates: int) -> None:
        self._grid = grid
        self._make = make
        self._updates = updates
        self._day = grid.day or grid.week
        self._keep = max(_KEPT_WEEKS * grid.week, 64)
        self._lags = sorted({period * math.ceil(grid.steps / period) for period in (self._day, grid.week)})
        self._window = min(_WINDOW, self._day)

    def fit(self, history: Floats) -> None:
        """As Model.fit; needs two days."""
        self._tape = Tape(np.sqrt(history), self._keep)
        roots = self._tape.kept
        self._scale = max(float(roots.std()), _TINY)
        self._used = [lag for lag in self._lags if len(roots) >= lag + self._day // 2]
        self._train(roots)

    def update(self, values: Floats) -> None:
        """As Model.update, of one cluster."""
        self._tape.extend(np.sqrt(values))

    def point(self) -> Floats:
        """As Model.point."""
        needed = max(self._window, *self._used) + 1 if self._used else self._window
        recent = self._tape.kept[-needed:]
        windows, futures, times = self._inputs(
            recent, np.array([len(recent) - 1]), len(self._tape) - len(recent)
        )
        with torch.inference_mode():
            change = self._network(windows, futures, times)[0].numpy().astype(np.float64)
        return np.asarray(np.maximum(recent[-1] + self._scale * change, 0.0) ** 2)

    def _train(self, roots: Floats) -> None:
        steps = self._grid.steps
        first = max(self._window, *self._used) if self._used else self._window
        moments = np.arange(min(first, len(roots) - steps - 1), len(roots) - steps)
        updates = min(max(_EPOCHS * len(moments) // _BATCH, _FEWEST_UPDATES), self._updates)
        ahead = np.arange(1, steps + 1)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._grid.seed)
            self._network = self._make(self._window, len(self._used), steps)
            optimizer = torch.optim.AdamW(self._network.parameters(), lr=_LEARNING_RATE, weight_decay=_DECAY)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=updates)
            for _ in range(updates):
                drawn = moments[torch.randint(len(moments), (_BATCH,)).numpy()]
                wanted = (roots[drawn[:, np.newaxis] + ahead] - roots[drawn, np.newaxis]) / self._scale
                found = self._network(*self._inputs(roots, drawn, self._tape.first))
                loss = (found - _tensor(wanted)).abs().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        self._network.eval()

    def _inputs(self, roots: Floats, moments: Ints, offset: int) -> tuple[Tensor, Tensor, Tensor]:
        """The windows ``(n, L)``, what followed a day and a week before ``(n, U, H)``, and the times ``(n, 4)``."""
        now = roots[moments, np.newaxis]
        windows = (roots[moments[:, np.newaxis] + np.arange(1 - self._window, 1)] - now) / self._scale
        ahead = np.arange(1, self._grid.steps + 1)
        futures = [(roots[moments[:, np.newaxis] + ahead - lag] - now) / self._scale for lag in self._used]
        followed = np.stack(futures, axis=1) if futures else np.zeros((len(moments), 0, len(ahead)))
        angles = 2 * np.pi * (offset + moments)[:, np.newaxis] / np.array([self._day, self._grid.week])
        times = np.hstack((np.sin(angles), np.cos(angles)))
        return _tensor(windows), _tensor(followed), _tensor(times)


class Recurrent(nn.Module):
    """An LSTM over the last bins, whose end a small head reads together with what is known of the future."""

    def __init__(self, window: int, futures: int, steps: int) -> None:
        super().__init__()
        self._bins = min(window, _RECURRENT_BINS)
        self._lstm = nn.LSTM(1, _HIDDEN, batch_first=True)
        inputs = _HIDDEN + futures * steps + _TIMES
        self._head = nn.Sequential(nn.Linear(inputs, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, steps))

    def forward(self, windows: Tensor, futures: Tensor, times: Tensor) -> Tensor:
        """Changes ``(n, H)``."""
        _, (end, _) = self._lstm(windows[:, -self._bins :, None])
        return torch.as_tensor(self._head(torch.cat((end[0], futures.flatten(1), times), dim=1)))


class Dense(nn.Module):
    """A linear forecast and, added to it, what an encoder and decoder of dense layers see beyond that.

    Source: Das et al., 2023 (TiDE), with one layer for each of its blocks.
    """

    def __init__(self, window: int, futures: int, steps: int) -> None:
        super().__init__()
        inputs = window + futures * steps + _TIMES
        self._linear = nn.Linear(inputs, steps)
        nn.init.zeros_(self._linear.weight)
        nn.init.zeros_(self._linear.bias)
        self._dense = nn.Sequential(
            nn.Linear(inputs, 2 * _HIDDEN),
            nn.ReLU(),
            nn.Dropout(_DROPPED),
            nn.Linear(2 * _HIDDEN, _HIDDEN),
            nn.ReLU(),
            nn.Linear(_HIDDEN, steps),
        )

    def forward(self, windows: Tensor, futures: Tensor, times: Tensor) -> Tensor:
        """Changes ``(n, H)``."""
        seen = torch.cat((windows, futures.flatten(1), times), dim=1)
        return torch.add(self._linear(seen), self._dense(seen))


def _tensor(values: Floats) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def lstm(grid: Grid) -> Neural:
    """An LSTM."""
    return Neural(grid, Recurrent, updates=400)


def dense(grid: Grid) -> Neural:
    """A dense network beside a linear forecast."""
    return Neural(grid, Dense, updates=800)
