"""FFSD: a leader learns from the fused features of students that teach each other, and its depth teaches its first stages.

Li, Lin, Wang, Wu, Tian, Shao, Ji: "Distilling a Powerful Student Model via Online Knowledge Distillation", IEEE TNNLS 2022,
and the authors' public code. F_i^(l) is the output of stage l = 1..R of student i = 1..S, z its logits, sg "no gradient", the
functions are those of `_ffsd`, all KL are of classes softened by T. The losses, with d, f and sd for the three lambdas:

- student i: CE + T^2 / (S - 1) sum over j of KL(sg z_j || z_i); from the second one on
  + d D(F_i^(R), sg F_{i-1}^(R)) + d sum over l < R of A(att F_i^(l), sg att g_i^(l)(shifted sg F_{i-1}^(R)));
- fusion of the students' sg F_i^(R) to a map U and logits z_U: CE + T^2 KL(sg mean_i z_i || z_U);
- leader: CE + T^2 KL(sg z_U || z_L) + f A(att F_L^(R), sg att U) + f A(att V, sg att of all F_i^(R) joined)
  + f sum over l < R of A(att F_L^(l), sg att g_L^(l)(sg U)), where V is the leader's last map through its trans-fusion head;
- self-distillation module g of the students from the second one on and of the leader:
  sd sum over l < R of A(g^(l)(sg F^(R)), sg F^(l)) + A(att g^(l)(sg F^(R)), sg att F^(l)).

Deployed is the leader alone, without its head: the plain backbone. The S students are charged as helpers. Fusion, head and
modules g are not charged: at S = 2 they add 6 % to the MACs of a step, forward and backward, of three ResNet-20, 2 % to those of
ResNet-56, 9 % of ResNet-18, 13 % of MobileNet-V2, 19 % of the CIFAR VGG-16, and 67 % of ResNet-50 with its wide maps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from suite.baselines._ffsd import Team, apart, attention, attentions_apart, diversity, shifted
from suite.baselines._online import OnlineMethod, agreement, soft, validated
from torch import Tensor, nn
from torch.nn import functional

from suite.artifacts import Network
from suite.context import Run
from suite.contract import Claim, Paper, Published, Side, Skip, option
from suite.nn import stages
from suite.settings import Classification

RISE = 5 / 300  # share of the training in which the lambdas rise: five of the paper's 300 epochs
OURS = Side("ffsd")
EQUAL = (("total", 0.0), ("final", 0.0))


@dataclass
class FFSDMethod(OnlineMethod):
    """`students` common students and a leader of the same architecture, which starts from the random weights of `plain`."""

    paper = Paper("Distilling a Powerful Student Model via Online Knowledge Distillation",
                  "Li, Lin, Wang, Wu, Tian, Shao, Ji", "IEEE TNNLS", 2022, "https://arxiv.org/abs/2103.14473")
    tags = ("distillation", "online")
    published = (
        *(Published("cifar100", "top1", top1, f"README, our mean of its three runs {runs}", {"arch": arch})
          for arch, top1, runs in (("resnet20", 72.70, "72.64, 72.58, 72.88"), ("resnet32", 74.85, "74.92, 74.82, 74.82"),
                                   ("resnet56", 75.80, "75.84, 75.66, 75.91"))),
        Published("imagenet", "top1", 70.87, "README", {"arch": "resnet18"}),
    )
    claims = (
        Claim("1a better than alone", "The leader is better than the same network trained alone for as many epochs.", "cifar100",
              "top1", "above", (OURS, Side("mutual_learning", {"students": 3, "weight": 0.0})), held_equal=EQUAL),
        Claim("1a at equal total cost", "The leader is better than the same network trained alone on as many samples as all three "
              "networks see (our question; the paper compares at equal epochs).", "cifar100", "top1", "above",
              (OURS, Side("plain")), held_equal=(("total", 0.001),)),
        Claim("1b better than mutual learning", "The leader is better than the best of as many networks in mutual learning.",
              "cifar100", "top1", "above", (OURS, Side("mutual_learning", {"students": 3})), held_equal=EQUAL),
        Claim("2 the fusion teaches", "Without the fusion's soft classes the leader is worse.", "cifar100", "top1", "above",
              (OURS, Side("ffsd", {"fusion_kl": False})), held_equal=EQUAL),
    )
    standins = (
        "Our CIFAR ResNets have shortcuts without weights, the authors' have 1x1 convolutions; the weights after the last step are "
        "judged, the authors report their best test epoch.",
        "The weights of the losses rise step by step over the paper's share of the training, 5 of 300 epochs, not once an epoch.",
        "Below scale full the recipe of 'plain': one warm-up and one cosine, its weight decay, the task's own augmentation (on "
        "CIFAR it pads by zeros, not by reflection).",
        "The networks share the task's budget: at full on CIFAR the leader sees a third of 200 epochs, in the paper all of 300. On "
        "ImageNet the schedule is CIFAR's; the paper's has a warm-up and falls after 30, 60 and 80 of 90 epochs.",
        "Fusion, head and self-distillation modules are not charged: 6 % of the MACs of a step of three ResNet-20.",
        "Self-distillation modules follow the backbone's widths and strides, also where these do not halve and double; the "
        "threshold of the reversed attention is the lowest value where a map has fewer than three pixels.",
    )

    lambda_div: float = option(1e-5, "weight of the second student's distance from the first", bounds=(0, 1e6))
    lambda_f: float = option(10.0, "weight of what the leader learns from the fused features", bounds=(0, 1e6))
    lambda_sd: float = option(1000.0, "weight of the fit of the self-distillation modules", bounds=(0, 1e6))
    fusion_kl: bool = option(True, "the leader learns the fusion's soft classes; false is the paper's ablation")

    def fit(self, setting: Classification, run: Run) -> Network:
        networks = self.networks(setting, run, 1 + self.students)
        if len(stages(networks[0])) < 2:
            raise Skip(f"needs feature maps of at least two stages, '{self.arch}' has one")
        torch.manual_seed(run.seed("modules"))
        team = Team(networks, setting.shape, setting.classes).to(run.device)
        learners = {f"student_{number}": self.learner(student) for number, student in enumerate(team.students, 1)}
        learners["fusion"] = self.learner(team.fusion, weight_decay=1e-5)
        learners["leader"] = self.learner(nn.ModuleList([team.leader, team.head]))
        for name, module in team.named_details():
            learners[name] = self.learner(module, adam=True, rate=1e-3, weight_decay=1e-4)

        def losses(inputs: Tensor, targets: Tensor, progress: float) -> Mapping[str, Tensor]:
            return self.losses(team, inputs, targets, risen(progress))

        self.learn(setting, run, learners, losses, helpers=self.students)
        leader, *students = validated([team.leader, *team.students], setting, run)
        run.note(val_top1=leader, val_top1_of_students=students)
        return Network(team.leader)

    def losses(self, team: Team, inputs: Tensor, targets: Tensor, rise: float) -> dict[str, Tensor]:
        """The loss of each learner from one forward pass of all, in the order of their steps; `rise` 0..1 scales the lambdas."""
        leader, students = team.see(team.leader, inputs), [team.see(student, inputs) for student in team.students]
        logits = [student.logits for student in students]
        joined = torch.cat([student.maps[-1].detach() for student in students], 1)
        fused_logits, fused = team.fusion(joined)
        found = {}
        for number, student in enumerate(students):
            loss = functional.cross_entropy(student.logits, targets) + agreement(logits, number, self.temperature)
            if number:
                before = students[number - 1].maps[-1]
                wanted = team.details[number - 1].targets(shifted(before))
                distance = diversity(student.maps[-1], before) + attentions_apart(student.maps[:-1], wanted)
                loss = loss + rise * self.lambda_div * distance
            found[f"student_{number + 1}"] = loss
        mean = torch.stack(logits).mean(0)
        found["fusion"] = functional.cross_entropy(fused_logits, targets) + soft(fused_logits, mean, self.temperature)
        imitation = apart(attention(leader.maps[-1]), attention(fused))
        imitation = imitation + apart(attention(team.head(leader.maps[-1])), attention(joined))
        imitation = imitation + attentions_apart(leader.maps[:-1], team.details[-1].targets(fused))
        found["leader"] = functional.cross_entropy(leader.logits, targets) + rise * self.lambda_f * imitation
        if self.fusion_kl:
            found["leader"] = found["leader"] + soft(leader.logits, fused_logits, self.temperature)
        for (name, module), owner in zip(team.named_details(), [*students[1:], leader], strict=True):
            made, wanted = module(owner.maps[-1].detach()), owner.maps[:-1]
            features = torch.stack([apart(ours, theirs) for ours, theirs in zip(made, wanted, strict=True)]).sum()
            found[name] = rise * self.lambda_sd * (features + attentions_apart(made, wanted))
        return found


def risen(progress: float) -> float:
    """What the lambdas are multiplied by at `progress` 0..1: exp(-5 (1 - e / 5)^2) up to e = 5 of 300 epochs, then 1."""
    return math.exp(-5 * (1 - progress / RISE) ** 2) if progress < RISE else 1.0
