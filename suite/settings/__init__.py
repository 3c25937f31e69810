"""What methods receive: small frozen dataclasses, one per kind of problem."""

from suite.settings.captions import CaptionedFeatures, Captioning, FeatureBatch, PictureFeatures
from suite.settings.images import Augment, Classification, Images, PassingImages, SemiSupervised, SessionData, Sessions
from suite.settings.masks import ChangePairs, EpisodeBatch, Episodes, FaceForgery, Faces, FewShotSegmentation, PairAugment, Pairs
from suite.settings.objects import CloudDetection, Clouds, Detection, Gallery, InstanceSearch, Scenes, Suppression

Setting = (
    Classification | SemiSupervised | Sessions | ChangePairs | FewShotSegmentation | FaceForgery | Detection | Suppression
    | CloudDetection | Captioning | InstanceSearch
)

__all__ = [
    "Augment", "CaptionedFeatures", "Captioning", "ChangePairs", "Classification", "CloudDetection", "Clouds",
    "Detection", "EpisodeBatch", "Episodes", "FaceForgery", "Faces", "FeatureBatch", "FewShotSegmentation", "Gallery",
    "Images", "InstanceSearch", "PairAugment", "Pairs", "PassingImages", "PictureFeatures", "Scenes", "SemiSupervised",
    "SessionData", "Sessions", "Setting", "Suppression",
]
