"""State-dict files that users give."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from suite.errors import UserError

State = Mapping[str, Tensor]


def read_weights(path: str) -> State:
    """The state-dict in the file `path`, on the CPU; nothing in it is run. UserError for a file that holds none."""
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except FileNotFoundError:
        raise UserError(f"There is no state-dict file '{path}'; name one with weights=FILE.") from None
    except pickle.UnpicklingError as error:  # torch advises to run what the file holds, and we do not
        named = re.search(r"GLOBAL (\S+)", str(error))
        held = f"holds '{named[1]}'" if named else "is no state-dict"
        raise UserError(f"'{path}' {held}; it could be read only by running what it holds, so it was not. Ask where it comes from "
                        "for the weights alone, written with torch.save(network.state_dict(), FILE).") from None
    except Exception as error:  # whatever else torch's reader raises
        reason = (str(error).strip() or type(error).__name__).split("\n")[0]
        raise UserError(f"'{path}' is no state-dict ({reason}); write one with torch.save(network.state_dict(), FILE).") from error
    if not isinstance(state, dict) or not all(isinstance(item, Tensor) for item in state.values()):
        held = f"'{next(iter(state))}' and the like" if isinstance(state, dict) else f"a {type(state).__name__}"
        raise UserError(f"'{path}' holds {held} and no state-dict; write one with torch.save(network.state_dict(), FILE).")
    return state


def load_weights(network: nn.Module, path: str, convert: Callable[[State], State] = lambda state: state) -> None:
    """Put the state-dict file `path` into `network`, after `convert`. UserError, and nothing is loaded, where it does not fit.

    Counts of batches that a normalisation has seen may be missing: frozen ones have none.
    """
    state = convert(read_weights(path))
    if problem := _misfit(state, network.state_dict()):
        raise UserError(f"'{path}' is no state-dict of this network ({problem}); give the arch and other options it belongs to.")
    network.load_state_dict(state, strict=False)


def _misfit(state: State, wanted: State) -> str:
    """Why `state` does not fit where `wanted` is expected; empty where it does."""
    for name, values in wanted.items():
        if name not in state and not name.endswith("num_batches_tracked"):
            return f"'{name}' is missing"
        if name in state and state[name].shape != values.shape:
            return f"'{name}' is {tuple(state[name].shape)} instead of {tuple(values.shape)}"
    return next((f"'{name}' is unknown" for name in state if name not in wanted), "")
