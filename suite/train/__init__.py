"""Training: one loop, recipes, batches and augmentation."""

from suite.train.augment import CropFlip, Normalise, ResizedFlip
from suite.train.batches import Batch, Stream, batches, streams
from suite.train.detection import detect, train_detector
from suite.train.loop import Clock, optimise, predict, steps, train
from suite.train.recipe import Recipe, autocast, precision

__all__ = ["Batch", "Clock", "CropFlip", "Normalise", "Recipe", "ResizedFlip", "Stream", "autocast", "batches", "detect",
           "optimise", "precision", "predict", "steps", "streams", "train", "train_detector"]
