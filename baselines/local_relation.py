"""LRL: forged faces by how the patches of a face resemble one another, from colours and frequencies that guide each other.

Chen, Yao, Chen, Ding, Li, Ji: "Local Relation Learning for Face Forgery Detection", AAAI 2021, arXiv 2105.02577. There is no code
of the authors; DeepfakeBench (SCLBD/DeepfakeBench, detector ``lrl``) states the paper as its reference, and its values are used.

* A frequency image: the face's luminance without its low frequencies, by a cosine transform of the whole image.
* RFAM: after each of three levels of two backbones, maps of attention that both streams give for both; their sum goes on.
* MPSM: a grid of patches of the fused levels, S_ij = (cos(w_i, w_j) + 1) / 2; a classifier sees S without its diagonal.
* L = CE + lambda_1 BCE(mask) + lambda_2 MSE(S, S*), S*_ij = 1 - |rho_i - rho_j| with rho the forged share of a patch.

The mask is decoded from the fused features in training alone; what is deployed has no decoder.

The claims' unseen manipulation is NeuralTextures: it is the newest of the four, as the forgeries are that a detector meets in use,
and the one that alters least of a face.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from suite.baselines._forgery import ForgeryMethod
from suite.baselines._relation import Guided, RelationNetwork, forged_shares, similarity_target
from torch import Tensor
from torch.nn import functional

from suite.artifacts import Network
from suite.context import Run
from suite.contract import Claim, Paper, Published, Side, Skip, option
from suite.settings import FaceForgery
from suite.train import Batch

UNSEEN = {"unseen": "NeuralTextures", "compression": "c40"}


@dataclass
class LocalRelationMethod(ForgeryMethod):
    """`streams` and `relation` take a part away: attention (``sum``) or the frequencies too (``rgb``), or patch similarity."""

    paper = Paper("Local Relation Learning for Face Forgery Detection", "Chen, Yao, Chen, Ding, Li, Ji", "AAAI", 2021,
                  "https://arxiv.org/abs/2105.02577")
    tags = ("face-forgery",)
    standins = (
        "The paper's weights of the losses could not be read; 1 and 1 are DeepfakeBench's.",
        "The frequency image lacks the constant -1 of DeepfakeBench's normalisation, which batch normalisation takes away but "
        "at the padded border.",
        "The frequency stream's first layer has random weights, all others the pre-trained ones in both streams.",
        "At smoke and short a CIFAR ResNet-8 that the suite has pre-trained on embedded data (its three scales), at a larger "
        "learning rate, and a decoder of one stage.",
        "With relation=false the classifier is average pooling and one linear layer on the fused features, and lambda_2 is 0.",
    )
    published = (Published("faceforensics", "auc", 99.46, "PeerJ-CS 10.7717/peerj-cs.1959, Table 2, quoting the paper: c23"),)
    claims = tuple(
        Claim(name, sentence, "faceforensics", "auc", "above", sides, held_equal=(("total", 0.01),), task_options=options)
        for name, sentence, sides, options in (
            ("beats a plain classifier", "Local relations detect forgeries better than the same backbone as a plain classifier.",
             (Side("local_relation"), Side("plain_forgery")), {}),
            ("unseen manipulation", "On a manipulation that it was not trained on, after strong compression, it is ahead as well.",
             (Side("local_relation"), Side("plain_forgery")), UNSEEN),
            ("similarity matters more than attention", "On it, patch similarity is missed more than the frequency stream and RFAM.",
             (Side("local_relation", {"streams": "rgb"}), Side("local_relation", {"relation": False})), UNSEEN),
        )
    )

    scales: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        scale: {**options, "decoder": (32,)} for scale, options in ForgeryMethod.scales.items()}

    streams: Literal["rfam", "sum", "rgb"] = option("rfam", "both with attention, both as a sum, or colours alone")
    relation: bool = option(True, "classify by patch similarity (MPSM)")
    patches: int = option(4, "patches a side, the grid of S", bounds=(2, 16))
    keep: float = option(0.33, "share of the frequencies, counted along a side, that the frequency image lacks", bounds=(0, 1))
    mask_weight: float = option(1.0, "lambda_1", bounds=(0, 100))
    similarity_weight: float = option(1.0, "lambda_2", bounds=(0, 100))
    decoder: tuple[int, ...] = option((256, 256, 128, 64), "channels of the mask decoder's stages, each doubling the resolution",
                                      bounds=(1, 4096))
    dropout: float = option(0.2, "in the classifier", bounds=(0, 0.9))

    def fit(self, setting: FaceForgery, run: Run) -> Network:
        if not setting.train.masked and (self.mask_weight or (self.relation and self.similarity_weight)):
            raise Skip("learns from masks, and not all forged training videos have one; copy the masks of all manipulations")
        classifier = self.backbone(run)
        torch.manual_seed(run.seed("weights", self.arch))
        network = RelationNetwork(classifier, setting.shape[1], self.streams, self.relation, self.patches, self.keep, self.dropout)
        guided = Guided(network, self.decoder)
        self.train(guided, setting, run, self.loss)
        return Network(network, {"local_map": guided.mask_only()})

    def loss(self, found: tuple[Tensor, Tensor | None, Tensor], batch: Batch, labels: Tensor) -> Tensor:
        """Logits (B, 2), similarities (B, P, P) if any and the decoded mask's logits (B, 1, S, S) against labels (B,) and masks."""
        logits, similarity, mask = found
        loss = functional.cross_entropy(logits, labels)
        loss = loss + self.mask_weight * functional.binary_cross_entropy_with_logits(mask, batch.targets)
        if similarity is None:
            return loss
        wanted = similarity_target(forged_shares(batch.targets, self.patches))
        return loss + self.similarity_weight * functional.mse_loss(similarity, wanted)
