"""Plain training: one loop, its schedule, batches and augmentation (`suite.train.transforms` has what needs torchvision)."""

from suite.train.augment import Compose, CropFlip, Cutout, Erase, Flip, Normalise, RandomCrop, ResizedFlip
from suite.train.detection import detect, train_detector
from suite.train.loop import Batch, Recipe, batches, precision, predict, train
from suite.train.mix import Alternate, CutMix, MixUp

__all__ = ["Alternate", "Batch", "Compose", "CropFlip", "CutMix", "Cutout", "Erase", "Flip", "MixUp", "Normalise", "RandomCrop",
           "Recipe", "ResizedFlip", "batches", "detect", "precision", "predict", "train", "train_detector"]
