"""Training where the examples stay with those who have them: clients learn, a server averages, nobody sees a text."""

from diptych.training.federation.client import Client
from diptych.training.federation.rounds import Federation, Rounds, federate
from diptych.training.federation.server import Merging
from diptych.training.federation.update import Assignment, Update, Values

__all__ = ["Assignment", "Client", "Federation", "Merging", "Rounds", "Update", "Values", "federate"]
