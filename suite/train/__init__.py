"""Plain training: one loop, its schedule, batches and augmentation."""

from suite.train.augment import CropFlip, Normalise, ResizedFlip
from suite.train.loop import Batch, Recipe, batches, precision, predict, train

__all__ = ["Batch", "CropFlip", "Normalise", "Recipe", "ResizedFlip", "batches", "precision", "predict", "train"]
