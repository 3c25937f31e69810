"""Plain training: one loop, its schedule, batches and augmentation."""

from suite.train.augment import CropFlip, Normalise, ResizedFlip
from suite.train.detection import detect, train_detector
from suite.train.loop import Batch, Recipe, batches, precision, predict, train

__all__ = ["Batch", "CropFlip", "Normalise", "Recipe", "ResizedFlip", "batches", "detect", "precision", "predict", "train",
           "train_detector"]
