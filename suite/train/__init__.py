"""Training: one loop, recipes, batches and augmentation (`suite.train.transforms` has what needs torchvision)."""

from suite.train.augment import Compose, CropFlip, Cutout, Erase, Flip, Normalise, RandomCrop, ResizedFlip
from suite.train.batches import Batch, Stream, batches, streams
from suite.train.detection import detect, train_detector
from suite.train.loop import Clock, optimise, predict, steps, train
from suite.train.mix import Alternate, CutMix, MixUp
from suite.train.recipe import Recipe, autocast, precision

__all__ = ["Alternate", "Batch", "Clock", "Compose", "CropFlip", "CutMix", "Cutout", "Erase", "Flip", "MixUp", "Normalise",
           "RandomCrop", "Recipe", "ResizedFlip", "Stream", "autocast", "batches", "detect", "optimise", "precision", "predict",
           "steps", "streams", "train", "train_detector"]
